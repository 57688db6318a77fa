"""Dates and numbers, written out: pairs for a translation that needs no data.

    14 March 1952                                        the fourteenth of march nineteen fifty two
    three hundred forty two thousand one hundred six     342,106

Half of the pairs are dates, from 1 January 1000 to 28 December 2099, half numbers from 1 to 999,999, and no source
comes twice. The first digit is said by the first word, the day by the first of the source: it must be remembered until
all the rest is read.
"""

from torch import Generator, randperm

from retrograd.errors import ConfigError

ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += [f"{before}teen" for before in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
TENS = ["", "ten", *(f"{before}ty" for before in ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"))]
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth"}  # the others end in th
MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
MONTHS += ["August", "September", "October", "November", "December"]
YEARS, FIRST_YEAR, DAYS, NUMBERS = 1100, 1000, 28, 999_999
DATES = YEARS * len(MONTHS) * DAYS
MOST = 2 * min(DATES, NUMBERS)  # pairs


def pairs(count: int, generator: Generator) -> list[tuple[str, str]]:
    """So many pairs (source, target), dates and numbers by turns. Raises ConfigError for more than there are."""
    if count > MOST:
        raise ConfigError(
            f"There are {MOST:,} dates and numbers at most, to train, validate and test together; task.examples and "
            f"task.held_out ask for {count:,}, make them smaller."
        )
    dates = randperm(DATES, generator=generator)[: (count + 1) // 2].tolist()
    numbers = randperm(NUMBERS, generator=generator)[: count // 2].tolist()
    made = [_date(i) for i in dates], [_number(i + 1) for i in numbers]
    return [made[i % 2][i // 2] for i in range(count)]


def in_words(n: int) -> str:
    """A number under a million in American English.

    >>> in_words(342_106)
    'three hundred forty two thousand one hundred six'
    """
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f" {ONES[n % 10]}" if n % 10 else "")
    size, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = f" {in_words(n % size)}" if n % size else ""
    return f"{in_words(n // size)} {name}{rest}"


def ordinal(n: int) -> str:
    """
    >>> ordinal(21)
    'twenty first'
    """
    *before, last = in_words(n).split()
    last = ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join([*before, last])


def year(n: int) -> str:
    """
    >>> year(1905), year(1900), year(2000)
    ('nineteen oh five', 'nineteen hundred', 'two thousand')
    """
    century, rest = divmod(n, 100)
    if century % 10 == 0 and rest < 10:
        return in_words(n)
    if not rest:
        return f"{in_words(century)} hundred"
    return f"{in_words(century)} {'oh ' if rest < 10 else ''}{in_words(rest)}"


def _date(i: int) -> tuple[str, str]:
    i, day = divmod(i, DAYS)
    i, month = divmod(i, len(MONTHS))
    name, n = MONTHS[month], FIRST_YEAR + i
    return f"{day + 1} {name} {n}", f"the {ordinal(day + 1)} of {name.lower()} {year(n)}"


def _number(n: int) -> tuple[str, str]:
    return in_words(n), f"{n:,}"
