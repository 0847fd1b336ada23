"""TREC: what a question asks for, by its words."""

from __future__ import annotations

from zoo.kinds.rule_labels import RuleLabelledTexts


class TrecWords(RuleLabelledTexts):
    """4,585 questions."""

    name = "trec-words"
    dataset = "trec"
    # description, entity, person, abbreviation, place, number: what or who, or else
    coarse = (1, 0, 0, 1, 0, 1)
