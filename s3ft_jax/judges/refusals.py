"""Judges room: does a response say that a question cannot be answered? By phrases, in English, near either end.

In: the text of a response. Out: yes or no. The phrases are our own list. ``any(answers, model)``
asks a model, as a second opinion, where they find nothing.
"""

from __future__ import annotations

import re

LENGTH = 5000
"""Characters looked at, from the beginning and from the end."""
_PLACE = (
    r"(?:the\s+|this\s+|that\s+|given\s+|provided\s+|above\s+){0,3}"
    r"(?:text|passage|context|article|paragraph|document|story|information|author|writer|source)"
)
_TEXT = r"(?:text|passage|context|article|paragraph|document)"  # which does not hold or name; an author may not either
_DOES_NOT = r"(?:(?:does|do|did)\s*(?:not|n't)|never|doesn't|didn't|don't)"
_NOT = r"(?:is|are|was|were|does|do|did|can|could|has|have)(?:\s+not|n't)|cannot|can\s+not|cant|never|not"
_TOLD = (
    r"(?:mentioned|stated|given|specified|provided|known|revealed|disclosed|indicated|described|discussed|explained"
    r"|included|answered|said|clear|found)"
)
_ENDS = r"(?=\W*$|\s*[.,;!?]|\s+(?:in|by|from|here|anywhere|within|why|who|what|when|where|how|whether)\b)"
_KNOWS = r"(?:say|tell|know|answer|determine|infer|deduce)"
_FACTS = r"(?:answers?|information|info|context|evidence|details?)"
_PATTERNS = (
    r"\bunanswerable\b|\bnot\s+answerable\b",
    rf"\b(?:cannot|can\s*not|can'?t|couldn'?t|could\s+not)\s+(?:be\s+)?(?:answer|determin|infer|deduc|known\b|tell\b|say\b|find\b|found\b{_ENDS})",
    r"\b(?:there\s+is|there's|has|have|gives?|contains?|provides?|with|is)\s+no\s+(?:\w+\s+)?(?:answer|information|mention|such)\b",
    r"\b(?:there\s+is|there's|there\s+was)\s+no\s+(?:\w+\s+)?(?:reference\s+to|details?\s+(?:on|about))\b",
    r"\bno\s+(?:mention|reference)\s+(?:is|was|has\s+been)\s+made\b",
    r"^\W*no\s+(?:\w+\s+)?(?:answer|information|mention|details?|evidence)\b",
    r"^\W*no\s+reference\s+to\b",
    r"^\W*(?:none|unknown|unclear|n/?a|not\s+(?:found|applicable|available))\W*$",
    r"\banswer\s+(?:to\s+(?:this|the)(?:\s+question)?\s+)?(?:is|was|remains)\s+(?:simply\s+)?"
    r"(?:unknown|unclear|unavailable|uncertain|unspecified|unstated|missing)\b",
    rf"\b{_FACTS}\s+(?:(?:is|are|was|were)\s+)?(?:not\s+available|unavailable|missing)\b",
    rf"\bimpossible\s+to\s+{_KNOWS}\b",
    r"\b(?:unclear|uncertain|not\s+clear)\s+(?:from|in|based|why|who|what|when|where|how|whether)\b",
    rf"\b(?:{_NOT})\s+(?:\w+\s+)?(?:in|from|by|within)\s+{_PLACE}\b",
    rf"\b{_PLACE}\s+(?:(?:does|do|did)\s*(?:not|n't)|never|doesn't|didn't)\s+(?:\w+\s+)?"
    r"(?:say|state|mention|tell|give|provide|contain|specify|answer|include|indicate|reveal|explain|describe)s?",
    rf"\b{_PLACE}\s+never\s+(?:says|states|mentions|tells|gives|provides|specifies|reveals|explains)\b",
    rf"\b{_PLACE}\s+(?:gives?|provides?|contains?|offers?|mentions?|states?)\s+no\b",
    rf"\bnothing\s+(?:in|from)\s+{_PLACE}\s+(?:\w+\s+)?(?:tells?|says?|indicates?|mentions?|suggests?|states?)\b",
    rf"(?:\bnot|n't)\s+{_TOLD}\b{_ENDS}",
    rf"\b{_TEXT}\s+{_DOES_NOT}\s+(?:\w+\s+)?(?:hold|address|discuss|clarify|identify|name|have|list|cover|offer|define"
    r"|disclose|detail|elaborate|touch\s+on|talk\s+about|speak\s+of|refer\s+to|make\s+(?:it\s+)?clear)\b",
    rf"\b{_TEXT}\s+(?:fails|neglects|omits)\s+to\s+(?:say|state|mention|tell|specify|explain|give|provide|answer)\b",
    rf"\b{_TEXT}\s+(?:lacks|(?:is|remains)\s+silent)\b",
    rf"\b{_PLACE}\s+(?:says?|tells?(?:\s+us)?|mentions?|states?|gives?|contains?|reveals?)\s+nothing\b",
    rf"\b{_PLACE}\s+makes?\s+no\s+(?:\w+\s+)?(?:mention|reference|statement|claim)\b",
    # anywhere else "it" may be anything
    rf"^\W*(?:it|this|that)\s+{_DOES_NOT}\s+(?:\w+\s+)?(?:say|mention|state|specify|tell(?:\s+us)?|explain)\b"
    r"(?=\W*$|\s*[.,;!?]|\s+(?:it|that|this|so|anything|who|what|when|where|why|how|which|whether)\b)",
    r"\b(?:i\s+am|i'm|we\s+are|we're|am)\s+(?:unable|not\s+able)\s+to\s+(?:answer|say|tell|determine|find|infer|give|provide)\b",
    rf"^\W*unable\s+to\s+{_KNOWS}\b",
    rf"(?:\bnot|n't)\s+have\s+(?:enough|sufficient|any|the)\s+(?:\w+\s+)?{_FACTS}\b",
    rf"\bnot\s+possible\s+to\s+{_KNOWS}\b",
    r"(?:\bnot|n't)\s+(?:enough|sufficient)\s+(?:information|context|evidence|details?|info)\b",
    r"\b(?:insufficient|no\s+relevant)\s+(?:information|context|evidence|details?)\b",
    r"\b(?:i|we)\s+(?:do\s+not|don't)\s+know\b",
)
_REFUSALS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _PATTERNS)
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u00b4", "'"))


def refuses(text: str) -> bool:
    """Whether the response says that the question cannot be answered (from the text)."""
    if len(text) > 2 * LENGTH:
        text = f"{text[:LENGTH]}\n{text[-LENGTH:]}"
    plain = text.translate(_APOSTROPHES)
    return any(pattern.search(plain) for pattern in _REFUSALS)
