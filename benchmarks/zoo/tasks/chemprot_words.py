"""ChemProt: how a chemical and a protein are related, by the words of a sentence."""

from __future__ import annotations

from zoo.kinds.rule_labels import RuleLabelledTexts


class ChemprotWords(RuleLabelledTexts):
    """11,061 sentences."""

    name = "chemprot-words"
    dataset = "chemprot"
