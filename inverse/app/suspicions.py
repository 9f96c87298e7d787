"""What is said of a measurement before samples are drawn: its noise, kernel, and ways of shrinking."""

from inverse.app.options import SolveOptions
from inverse.app.photo import Problem
from inverse.app.variants import likelier
from inverse.quality.aliasing import folded
from inverse.quality.compressed import was_compressed
from inverse.quality.kernel_size import misstated
from inverse.quality.noise_correlated import correlated
from inverse.quality.noise_stated import misjudged
from operators import variants
from priors.terminal import say


def of_noise(problem: Problem, asked: SolveOptions) -> str:
    """A caution, printed, if the noise of y is correlated, or a stated sigma far from it; "" if not."""
    if not asked.measured or problem.unknown:
        return ""
    given = (problem.prior, problem.operator, problem.y)
    return _told([*([] if problem.estimated else misjudged(*given)), *correlated(*given)])


def of_operator(problem: Problem, done: int, asked: SolveOptions) -> str:
    """A caution, printed, if y is more probable under a usual mistake in the operator; "" if not, or not compared."""
    if done or not asked.measured or problem.unknown:
        return ""
    found: list[str] = []
    if not was_compressed(problem.y):  # the error of JPEG has a spectrum of its own
        found += [misstated(problem.operator, problem.y), folded(problem.operator, problem.y)]
    if variants(problem.operator):
        say("comparing orientations of the kernel or colour pattern (some 10 s)")
        found.append(likelier(problem.prior, problem.operator, problem.y))
    return _told(found)


def _told(found: list[str]) -> str:
    for text in filter(None, found):
        say(f"caution: {text}", "yellow")
    return "; ".join(filter(None, found))
