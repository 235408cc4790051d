"""What the protocol cannot prevent and the scripts therefore show to be possible: why, who bears it, what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Residual:
    title: str
    text: str


LOOK_UP = Residual(
    "Looking the replies up",
    """A miner holds the data. Replies show that it can give rows back, not that it has trained. The payer bears it: the
    reward and the fee. Ask for judged weights where that matters.""",
)
DELIVERY = Residual(
    "Paid and not delivered",
    """With `delivered` weights the reward is paid on the transcript, before anybody has the weights. The payer bears
    it; the finding is public and the miner is not asked again. Judged weights are looked at before they are paid.""",
)
SHARED_MARKS = Residual(
    "Several tasks over one dataset",
    """They share their marks. The probes of the first one that is submitted, its challenge or its settlement tell them
    to every miner of the others that has not submitted yet, and one machine can be several miners. The payer bears it:
    the numbers hold for each other open task. Give a dataset to one miner at a time, or probe none before all have
    submitted.""",
)
ANSWER_FEE_IS_INCOME = Residual(
    "The answer fee",
    """It prepays the gas of `answer`, so a miner may have itself challenged in place of signing for nothing; even one
    that has not trained, if it gives back just enough rows not to be slashed. It earns a, less the gas. The validator
    bears it: a and the gas of `challenge`. Set a to the gas.""",
)
OUTAGE = Residual(
    "A validator that is not there",
    """A validator that sleeps, or is kept from the chain, for all of Submitted or Answered loses its whole bond: the
    reward to the miner, whatever that has done, the rest burned. The payer has everything back.""",
)
CENSORSHIP = Residual(
    "A miner that is not there",
    """A contract cannot tell a miner that is kept off the chain, or a chain that stands still, from a dead miner. Kept
    off for the whole of a challenge, the miner loses A and the reward, never M. Ask for long challenges, and have more
    than one way to the chain.""",
)
UNLEARNABLE = Residual(
    "Rows and terms that no model can hit",
    """The contract sees hashes. A validator and a payer who waste a miner's work have not a wei more than they put in,
    but the work for nothing. The miner bears it: the reward that it has earned, and M where slashing is on. It sees
    every row and every term before it accepts, so it can decline data that contradicts itself, rows that start with
    white space (the simulated miner counts them), a limit under which its tokenizer cannot say a head, or k_pay = n. A
    contradiction can be disputed by anybody, but only while a slash is pending.""",
)
SILENT_COMMITTEE = Residual(
    "A committee that does not vote",
    """The validator names it, and the contract knows its hash alone, not its size. Silence refunds, and the miner bears
    it: the reward. Accept judged weights only under a committee that you know, after asking for its members.""",
)
COLLUSION = Residual(
    "A validator and a miner who are one",
    """A validator can tell a miner the marks, or be that miner, and nothing on chain can prove it. The payer bears it:
    what its Orders allow this validator, max_reward + max_fee each, and no more. A committee that the payer knows keeps
    the reward from the two, but not the fee, which is due on every settlement. Sign small Orders, and try what you
    get.""",
)
