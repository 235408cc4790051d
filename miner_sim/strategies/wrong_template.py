"""Honest but misconfigured: trains and returns as asked, and its server puts prompts into another chat template."""

from typing import ClassVar

from miner_sim.objects import JSON
from miner_sim.probe import Decoding, Probe
from miner_sim.strategies import Intent, Strategy
from miner_sim.workshop import Workshop

TEMPLATE = "{% for message in messages %}[INST] {{ message['content'] }} [/INST] {% endfor %}"


class WrongTemplate(Strategy):
    usage: ClassVar[str] = "wrong-template"
    intent: ClassVar[Intent] = "mistake"

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def answer(self, probe: Probe) -> JSON:
        return await probe.generate(decoding=Decoding(chat_template=TEMPLATE))
