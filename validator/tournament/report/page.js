// The price of compute: profits, and the cheapest cheat that pays, by the rule of validator/tournament/statistics.py.
(() => {
  const price = document.getElementById("price");
  if (!price) return;
  const slider = document.getElementById("share");
  const fullPrice = Number(price.dataset.fullPrice);
  const margin = Number(price.dataset.margin);
  const low = Number(price.dataset.low), high = Number(price.dataset.high);

  const say = (ether) => (ether < 0 ? "\u2212" : "+") + Math.abs(ether).toFixed(2);
  const place = (ether) => 100 * Math.min(1, Math.max(0, (ether - low) / (high - low)));
  const kind = (ether) => (ether > 0 ? "gain" : "loss");

  function drawRow(row, perHour) {
    const cost = perHour * Number(row.dataset.hours);
    const profit = Number(row.dataset.mean) - cost;
    const interval = row.dataset.interval.split(" ").map((end) => Number(end) - cost);
    const bar = row.querySelector("rect"), whisker = row.querySelector(".whisker");
    const zero = place(0), end = place(profit);
    bar.setAttribute("class", kind(profit));
    bar.setAttribute("x", Math.min(zero, end) + "%");
    bar.setAttribute("width", Math.abs(end - zero) + "%");
    whisker.setAttribute("x1", place(interval[0]) + "%");
    whisker.setAttribute("x2", place(interval[1]) + "%");
    const figure = row.querySelector("b");
    figure.textContent = say(profit);
    figure.className = kind(profit);
    row.querySelectorAll("small span").forEach((text, i) => { text.textContent = say(interval[i]); });
    return { strategy: row.dataset.strategy, isHonest: row.classList.contains("honest"), isCheat: row.classList.contains("cheat"), cost, profit };
  }

  function nameCheapest(setting, rows) {
    const floor = Math.max(0, ...rows.filter((row) => row.isHonest).map((row) => row.profit + margin));
    const paying = rows.filter((row) => row.isCheat && row.profit > floor);
    paying.sort((a, b) => a.cost - b.cost || (a.strategy < b.strategy ? -1 : 1));
    const name = document.createElement("strong");
    name.className = paying.length ? "bad" : "good";
    name.textContent = paying.length ? paying[0].strategy : "none";
    document.querySelectorAll(`[data-cheapest="${setting}"]`).forEach((place) => {
      place.replaceChildren(name.cloneNode(true));
      if (paying.length) place.append(`, profit ${say(paying[0].profit)} ether`);
    });
  }

  function draw() {
    const share = Number(slider.value) / 100, perHour = fullPrice * share;
    document.getElementById("share-out").textContent = `${slider.value}%`;
    document.getElementById("per-hour").textContent = perHour.toPrecision(3);
    document.querySelectorAll("[data-setting]").forEach((body) => {
      const rows = [...body.querySelectorAll("[data-strategy]")].map((row) => drawRow(row, perHour));
      nameCheapest(body.dataset.setting, rows);
    });
  }

  slider.disabled = false;
  document.getElementById("no-script").remove();
  slider.addEventListener("input", draw);
})();
