"""The options of `inverse scan` that are texts: numbers of slices, and the noise."""


def slice_numbers(text: str, total: int) -> list[int]:
    """The slice numbers of "0,3,5-9"."""
    try:
        ends = [[int(end) for end in part.split("-", 1)] for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--slices {text!r}: expected numbers and ranges such as 0,3,5-9") from None
    numbers = sorted({n for part in ends for n in range(part[0], part[-1] + 1)})
    if not numbers or numbers[-1] >= total:
        raise ValueError(f"--slices {text!r}: expected slices from 0 to {total - 1}, such as 0,3,5-9")
    return numbers


def noise_level_of(text: str) -> float:
    """The noise of a text, in the units of the file."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(
            f"--sigma {text!r}: expected a positive number in the units of the file, or auto; for a noiseless scan "
            "give its numerical error, such as 1e-3 of the largest value"
        )
    return value
