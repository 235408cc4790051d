// What style sheets cannot do: searching, counting what is shown, and opening the task that a link names.
(() => {
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const filters = document.getElementById("filters");
  const tasks = [...document.querySelectorAll(".task")];

  function count() {
    const visible = tasks.filter((task) => getComputedStyle(task).display !== "none").length;
    shown.textContent = `${visible.toLocaleString("en")} of ${tasks.length.toLocaleString("en")} shown`;
  }

  function look() {
    const wanted = search.value.trim().toLowerCase();
    for (const task of tasks) {
      task.classList.toggle("unfound", !task.id.includes(wanted) && !task.dataset.find.includes(wanted));
    }
    count();
  }

  function openTarget() {
    const task = document.getElementById(location.hash.slice(1));
    if (!task?.classList.contains("task")) return;
    search.value = "";
    filters.querySelectorAll("input[type=radio]:not([id])").forEach((all) => { all.checked = true; });
    look();
    task.open = true;
    task.scrollIntoView();
  }

  search.disabled = false;
  document.getElementById("no-script").remove();
  search.addEventListener("input", look);
  filters.addEventListener("change", count);
  addEventListener("hashchange", openTarget);
  look();
  openTarget();
})();
