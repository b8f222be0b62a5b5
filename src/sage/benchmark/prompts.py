"""Text of a given length in tokens.

Without a tokenizer a length is a choice of words: the built-in text is made of common English
words, each a single token in the vocabularies of today's models, so n words are n tokens to
within a few percent. The report shows beside it what the server counted.
"""

from __future__ import annotations

import random
import re
from itertools import accumulate
from pathlib import Path

from sage.errors import ConfigError

_COMMON = """
the a an this that these those each every some any many few other another such same own
one two three four five six seven eight nine ten first second third last next new old good great
small large long short high low early late young important different able public free full
clear open close strong simple hard easy true real sure certain whole common main local
time year day week month hour night morning world life hand part place case point company
number group problem fact house room water food money book word story line name side head
door window street city town country river road tree field light sound music paper table
letter question answer reason result change idea plan group member family friend child
man woman people person student teacher doctor report service system program office
work law power level order market price interest value study class school history
is was are were be been has had have do did does will would could should may might must can
make made take took come came go went see saw know knew think thought say said tell told
find found give gave use used want ask asked seem feel felt try tried leave left call called
keep kept let begin began show showed hear heard play run ran move moved live lived believe
hold held bring brought happen write wrote sit stand lose pay meet include continue set
learn lead understand watch follow stop create speak read spend grow walk win teach offer
remember consider appear buy serve send expect build stay fall cut reach remain
and or but so because if when while where after before since until though as than then
in on at by for with from to of into over under between through during without against
about above across around behind below near along toward up down out off again still
here there now today often never always sometimes also only just even very too quite almost
he she it they we you who what which how why
"""

_COMMON_WORDS = re.findall("[a-z]+", _COMMON)
_LEAD = 2  # words that a stretch begins with when its place in the text is taken
_BUILT_IN_WORDS = 100_000
_BYTES_PER_TOKEN = 4.3  # English prose in the vocabularies of today's models
_JSON_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


class PromptText:
    """A long text, from which stretches of a given length are taken.

    All of it is printable ASCII without quotes and backslashes: it can stand in JSON as it is.

    Args:
        words: the text, in order.
        tokens: what each word counts; one each when None.
    """

    def __init__(self, words: list[str], tokens: list[float] | None = None) -> None:
        # Twice over, so that a stretch may begin anywhere.
        self._text = (" ".join(words + words)).encode()
        starts = [0, *accumulate(len(word) + 1 for word in words + words)]
        self._starts = starts
        self._words = len(words)
        self._distinct = [word.encode() for word in dict.fromkeys(words)]
        per_word = sum(tokens) / len(tokens) if tokens else 1.0
        self._tokens_per_word = per_word

    def take(self, tokens: int, start: int) -> bytes:
        """Return about ``tokens`` tokens of text beginning at word ``start`` (any whole number).

        Starts that are a whole text apart begin at the same word. Two words of their own, chosen
        by how often the text was gone round, stand before what they share, so that no engine
        finds one stretch's beginning cached from another.
        """
        count = max(1, round(tokens / self._tokens_per_word))
        turn, begin = divmod(start, self._words)
        parts = []
        if turn and count > _LEAD:
            parts.append(self.pair(turn))
            count -= _LEAD
        while count > self._words:
            parts.append(self._slice(begin, self._words))
            count -= self._words
        parts.append(self._slice(begin, count))
        return b" ".join(parts)

    def pair(self, number: int) -> bytes:
        """Return two words; neighbouring numbers give others, as many as there are pairs."""
        distinct = self._distinct
        more, first = divmod(number, len(distinct))
        return b"%b %b" % (distinct[first], distinct[more % len(distinct)])

    def _slice(self, begin: int, count: int) -> bytes:
        return self._text[self._starts[begin] : self._starts[begin + count] - 1]


def built_in_text() -> PromptText:
    """Return the built-in text: common words in random order, the same on every machine."""
    rng = random.Random(20_23)  # noqa: S311 - words, not secrets
    return PromptText(rng.choices(_COMMON_WORDS, k=_BUILT_IN_WORDS))


def file_text(path: Path) -> PromptText:
    """Return the words of a text file, whose tokens are reckoned from their letters.

    Raises:
        ConfigError: it cannot be read, or holds fewer than 100 words.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"text file {path}: {error}") from None
    words = _JSON_UNSAFE.sub(" ", text).split()
    if len(words) < 100:
        raise ConfigError(f"text file {path} has {len(words)} words; at least 100 are needed")
    return PromptText(words, [(len(word) + 1) / _BYTES_PER_TOKEN for word in words])
