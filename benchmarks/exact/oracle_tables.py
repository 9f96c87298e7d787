"""The oracle's records as tables, and as evidence for choosing a method."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common.intervals import bootstrap
from benchmarks.exact.oracle_entries import EXACT, PRIOR
from inverse import METHODS
from inverse.auto import VARIANTS
from priors.files import atomic

MEASURES = ("sw1", "sw2", "weights", "mean", "covariance")
LEAST_FLOOR = 1e-6
COSTS = ("nfe", "nvjp", "seconds", "ess", "log_evidence_error")
ABOUT = ("problem", "title", "capabilities", "measured", "method", "n_steps", "settings", "samples")


def summary(records: Sequence[dict]) -> list[dict]:
    """A summary of the records per problem and method, as plain data; the evidence for ``method="auto"``.

    Formula: ratio = mean over instances of the measure / that of exact draws (``floor``) on the same instances.
    Failed instances are left out. minus_auto is the mean difference of sw1 to that of "auto" on instances that both
    finished; low and high are the ends of 95 % bootstrap intervals over instances.
    Arguments: records, as `benchmarks.exact.oracle.run` returns them.
    Returns: for every problem and method, in the order in which they came: problem, title, capabilities, method,
    n_steps, settings, samples, instances, failed, error (of the first that failed), nfe, nvjp, seconds, ess,
    log_evidence_error and its root mean square log_evidence_rms (of weighted populations), log_evidence_covered (the
    fraction of instances whose 95 % interval contains the truth, for methods that give a standard error), for each of
    `MEASURES` its mean, floor and ratio, sw1_low and sw1_high, minus_auto, minus_auto_low and minus_auto_high. Missing
    figures are None.
    Raises: ValueError for a problem without exact draws among its records.
    """
    grouped: dict[tuple, dict[int, dict]] = {}
    for record in records:
        grouped.setdefault(_group(record), {})[record["instance"]] = record
    floors = {key[0]: found for key, found in grouped.items() if key[1] == EXACT}
    if missing := {key[0] for key in grouped} - set(floors):
        raise ValueError(f"no exact draws for {sorted(missing)} to compare with; run the whole oracle")
    autos: dict[str, dict[int, dict]] = {}
    for key, found in grouped.items():
        if key[1] == "auto":
            autos.setdefault(key[0], found)
    return [_summarised(found, floors[key[0]], autos.get(key[0], {})) for key, found in grouped.items()]


def table(lines: Sequence[dict]) -> list[dict[str, str]]:
    """Table rows from those of `summary`, exact draws first."""
    return [_row(line) for line in lines]


def notes(n_instances: int, n_samples: int, n_steps: Sequence[int]) -> str:
    """The meaning of the columns of `table`. Arguments: n_instances; n_samples; n_steps (0: each method's default)."""
    steps = " and ".join("their default number of" if n == 0 else f"at most {n}" for n in n_steps)
    return (
        f"{n_samples} samples of each method on the same {n_instances} instances, with the same seeds; ours take "
        f"{steps} steps (those that travel back in time, and variants, their own number), other toolkits' samplers "
        "theirs. NFE and vjp: evaluations of the prior and backward passes through it, per sample; seconds of all "
        "samples of an instance. Sliced W1: mean over instances, with its 95 % bootstrap interval. Relative to exact "
        "draws, and in brackets: divided by the same measure of exact draws (1.00: a second set of exact draws). "
        "Weights: total variation between the exact weights of the posterior's components and the samples' shares in "
        "them. Mean: error over the posterior's standard deviation. Covariance: relative error (Frobenius). "
        "ESS: effective sample size, and log p(y) in nats, with importance weights; covered: instances whose "
        "exact value is within 1.96 reported standard errors. "
        "Differences to auto's are paired by instance. Best of n: the settings that were nearest on other instances."
    )


def write_evidence(lines: Sequence[dict], path: Path) -> None:
    """Update the evidence for ``method="auto"`` (`inverse.auto.evidence`) with our methods' lines.

    They replace lines of the same candidate, problem and number of samples; lines of removed candidates are dropped.
    Arguments: lines of `summary`; path of the JSON file, written atomically.
    """
    fresh = [
        {
            "candidate": line["method"],
            "problem": line["problem"],
            "measured": line["measured"],
            "n_steps": line["n_steps"],
            "passes": round(line["nfe"] + line["nvjp"]),
            "samples": line["samples"],
            "ratio": round(line["sw1_ratio"], 4),
        }
        for line in lines
        if line["method"] in METHODS | VARIANTS and line["sw1_ratio"] is not None and not line["failed"]
    ]
    known = [line for line in _lines(path) if line["candidate"] in METHODS | VARIANTS]
    _write(_replaced(known, fresh, ("problem", "candidate", "n_steps", "samples")), path)


def write_summary(lines: list[dict], path: Path) -> None:
    """Write lines of `summary` to a JSON file, atomically, replacing its lines of the same problems.

    Arguments: lines; path.
    """
    _write(_replaced(_lines(path), lines, ("problem",)), path)


def _lines(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def _replaced(old: list[dict], new: list[dict], keys: tuple[str, ...]) -> list[dict]:
    taken = {tuple(line[key] for key in keys) for line in new}
    return [line for line in old if tuple(line[key] for key in keys) not in taken] + new


def _write(lines: list[dict], path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")


def _group(record: dict) -> tuple:
    return record["problem"], record["method"], record["n_steps"], json.dumps(record["settings"], sort_keys=True)


def _summarised(found: dict[int, dict], floors: dict[int, dict], autos: dict[int, dict]) -> dict:
    done = [i for i, record in found.items() if "error" not in record and "error" not in floors[i]]
    both = [i for i in done if "error" not in autos.get(i, {"error": ""})]
    one = next(iter(found.values()))
    errors = [record["error"] for record in found.values() if "error" in record]
    line = {name: one[name] for name in ABOUT}
    line |= {"instances": len(found), "failed": len(errors), "error": errors[0] if errors else None}
    line |= {name: _mean([found[i][name] for i in done if name in found[i]]) for name in COSTS}
    line |= _evidence([found[i] for i in done if "log_evidence_error" in found[i]])
    for name in MEASURES:
        value, floor = _mean([found[i][name] for i in done]), _mean([floors[i][name] for i in done])
        # with one component the weights are trivially right: a ratio of rounding errors is meaningless
        ratio = None if value is None or floor is None or floor < LEAST_FLOOR else value / floor
        line |= {name: value, f"{name}_floor": floor, f"{name}_ratio": ratio}
    line |= dict(zip(("sw1_low", "sw1_high"), _interval([found[i]["sw1"] for i in done]), strict=True))
    differences = [found[i]["sw1"] - autos[i]["sw1"] for i in both]
    line["minus_auto"] = _mean(differences)
    return line | dict(zip(("minus_auto_low", "minus_auto_high"), _interval(differences), strict=True))


def _evidence(records: list[dict]) -> dict[str, float | None]:
    squares = _mean([record["log_evidence_error"] ** 2 for record in records])
    stated = [record for record in records if "log_evidence_std" in record]
    return {
        "log_evidence_rms": None if squares is None else math.sqrt(squares),
        "log_evidence_covered": _mean([abs(r["log_evidence_error"]) < 1.96 * r["log_evidence_std"] for r in stated]),
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _interval(values: list[float]) -> tuple[float | None, float | None]:
    return bootstrap(torch.tensor(values, dtype=torch.float64)) if values else (None, None)


def _row(line: dict) -> dict[str, str]:
    reference = line["method"] in (EXACT, PRIOR)
    tuned = line["method"] == "auto" or ", best of " in line["method"]
    settings = ", ".join(f"{name} {value}" for name, value in line["settings"].items()) if tuned else ""
    row = {
        "measurement": line["title"],
        "method": line["method"] + (f" ({settings})" if settings else ""),
        "steps": _text(line["n_steps"], "d"),
        "NFE": "-" if reference else _text(line["nfe"], ".0f"),
        "vjp": "-" if reference else _text(line["nvjp"], ".0f"),
        "seconds": "-" if reference else _text(line["seconds"], ".1f"),
        "sliced W1": _spread(line, "sw1") or "diverged",
        "relative to exact draws": _text(line["sw1_ratio"], ".2f"),
        "sliced W2, relative to exact draws": _text(line["sw2_ratio"], ".2f"),
    }
    for name in ("weights", "mean", "covariance"):
        ratio = _text(line[f"{name}_ratio"], ".1f")
        row[f"{name} (relative)"] = "-" if line[name] is None else f"{line[name]:.3f} ({ratio})"
    difference = "" if reference or line["method"] == "auto" else _spread(line, "minus_auto", "+")
    row["sliced W1 minus auto's"] = difference or "-"
    row["ESS"] = _text(line["ess"], ".0f")
    rms, covered = line["log_evidence_rms"], line["log_evidence_covered"]
    row["log p(y), rms error"] = _text(rms, ".3f") + ("" if covered is None else f" ({100 * covered:.0f} % covered)")
    row["failed"] = f"{line['failed']} of {line['instances']}" if line["failed"] else "-"
    return row


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _spread(line: dict, name: str, sign: str = "") -> str:
    """A mean and its interval; empty if there is none."""
    ends = [line[name], line[f"{name}_low"], line[f"{name}_high"]]
    if None in ends:
        return ""
    mean, low, high = (format(end, f"{sign}.3f") if abs(end) < 100 else format(end, f"{sign}.1e") for end in ends)
    return f"{mean} [{low}, {high}]"
