"""The training loop for priors and noise-conditional classifiers: distributed and resumable."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from priors import checkpoints
from priors.data import ImageSet
from priors.files import FileError, atomic, reading
from priors.moments import Moments
from priors.objectives import Objective, PriorObjective
from priors.optimizers import optimizers
from priors.parsing import read_tensors_and_metadata, sealed
from priors.pictures import NUMBERS, Crops
from priors.score_prior import ScorePrior
from priors.spectrum import Spectrum
from priors.training_config import TrainingConfig

AFRESH = "start a new training in another folder"
STATE, LOG = "state.safetensors", "log.jsonl"
MOMENT_PICTURES = 300  # of 8 crops each: all crops of a thousand pictures take 20 GB in the cosine transform
MOMENT_IMAGES = 20_000  # more images hardly change 256 components


class Trainer:
    """Minimises an objective over an image set, or over random crops of pictures.

    All randomness of step n comes from (seed, n) and is drawn for the whole batch, of which every process takes its
    rows: a resumed run, and a run on several processes, follow the unbroken run of one.
    Arguments: objective (`priors.objectives`); data (ImageSet or Crops; of the latter a row is a picture, and so is one
    that is held out); config; out (folder): state, log, sheets and the checkpoint of the averaged weights go there;
    device; notes (dict): what the checkpoint's card should say besides.
    Raises: ValueError where the batch does not divide among the processes or the data are too few.
    """

    def __init__(
        self,
        objective: Objective,
        data: ImageSet | Crops,
        config: TrainingConfig,
        out: str | Path,
        device="cpu",
        notes=None,
    ):
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        if config.batch_size % self.world:
            raise ValueError(f"batch_size {config.batch_size} is not divisible by the {self.world} processes")
        config.check_size(len(data))
        self.device = torch.device(device)
        self.config, self.out, self.notes = config.on(self.device), Path(out), notes or {}
        self.held_out, self.data = data[-config.held_out :].measured(), data[: -config.held_out]
        self.objective = objective.to(self.device)
        self.network = objective.network
        self.targets = objective.targets if isinstance(objective, PriorObjective) else None
        self.ema = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizers = optimizers(config.optimizer, self.network, config.lr)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.config.precision == "float16")
        self.step, self.seconds, self.losses = 0, 0.0, {}

    def _know_moments(self, prior: ScorePrior) -> None:
        """Those of images evenly taken from the training set, and of their mirror images where training mirrors them;
        of crops, whose networks serve every size, the power spectrum."""
        if isinstance(self.data, Crops):
            pictures = torch.linspace(0, len(self.data) - 1, min(len(self.data), MOMENT_PICTURES)).long()
            prior.spectrum = Spectrum.of_crops(self.data.measured(pictures).floats())
            prior.moments = prior.spectrum.sized(prior.event_shape)
            return
        rows = torch.linspace(0, len(self.data) - 1, min(len(self.data), MOMENT_IMAGES)).long()
        images = self.data.floats(rows)
        prior.moments = Moments.of_images(torch.cat([images, images.flip(-1)]) if self.config.flip else images)

    def run(self, minutes: float = math.inf) -> bool:
        """Train to the end of the config, from the saved state where `resume` was called, or until ``minutes`` of this
        call have passed; whether it is the end. The state is saved in both cases."""
        module: nn.Module = self.objective
        if self.world > 1:
            module = DistributedDataParallel(module)
        start, saved, first = time.monotonic() - self.seconds, self.seconds, self.step
        begun = self.seconds
        loss = math.nan
        bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), disable=self.rank > 0)
        with bar:
            task = bar.add_task("training", total=1.0)
            while (progress := self._agreed(self.config.progress(self.step, self.seconds))) < 1.0:
                if self._agreed(self.seconds - begun) >= 60 * minutes:
                    break
                loss = self._update(module, progress)
                self.seconds = time.monotonic() - start
                bar.update(task, completed=progress, description=f"step {self.step} loss {loss:.4f}")
                if self._agreed(self.seconds - saved) > 60 * self.config.save_minutes:
                    self.save(loss)
                    saved = self.seconds
            if self.step > first:
                self.save(loss)
        return progress >= 1.0

    def _agreed(self, value: float) -> float:
        """Clocks differ between processes, so the first one's decides when to stop or save."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return shared.item()

    def _update(self, module: nn.Module, progress: float) -> float:
        k = self.config
        module.train()
        torch.manual_seed(
            _seed(k.seed, 3, self.step, self.rank)
        )  # for dropout only: everything else has its own generator
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = k.rate(self.step, progress)
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, getattr(torch, k.precision), enabled=k.precision != "float32"):
            loss = module(*self._batch()).mean()
        self.scaler.scale(loss).backward()
        for optimizer in self.optimizers.values():
            self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), k.clip)
        for optimizer in self.optimizers.values():
            self.scaler.step(optimizer)
        self.scaler.update()
        self.step += 1
        decay = min(k.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.ema[name].lerp_(value, 1 - decay)
        return loss.item()

    def _batch(self) -> tuple[Tensor | None, ...]:
        """Arguments of the objective at this step: of a new batch, or of one whose targets by a teacher are kept."""
        if self.targets is None:
            return self._drawn(self.step)
        teacher, seed = self.targets.teacher, self.config.seed
        together = teacher.kept * teacher.reuse
        order = torch.randperm(together, generator=_generator(seed, 6, self.step // together))
        number = teacher.batch(self.step, order)
        x0, labels, t, z = self._drawn(number)
        return x0, labels, t, z, self.targets(number, x0, t, z)

    def _drawn(self, number: int) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        k = self.config
        per_epoch = len(self.data) // k.batch_size
        epoch, position = divmod(number, per_epoch)
        order = torch.randperm(len(self.data), generator=_generator(k.seed, 0, epoch))
        rows = order[position * k.batch_size : (position + 1) * k.batch_size]
        mine = slice(self.rank, None, self.world)
        places = torch.rand(len(rows), NUMBERS, generator=_generator(k.seed, 5, number))
        x0 = self.data.drawn(rows[mine], places[mine])
        labels, t, z = self._noise(self.data, rows, _generator(k.seed, 1, number), mine)
        x0 = x0.to(self.device)
        if k.flip:
            mirrored = torch.rand(len(rows), generator=_generator(k.seed, 4, number))[mine] < 0.5
            x0 = torch.where(mirrored.to(x0.device).view(-1, 1, 1, 1), x0.flip(-1), x0)
        return x0, labels, t, z

    def _noise(self, data: ImageSet | Crops, rows: Tensor, generator: torch.Generator, mine: slice):
        n = len(rows)
        # one time in each of n equal intervals: the loss has less variance than with independent times
        u = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        z = torch.randn(n, *data.event_shape, generator=generator)
        times = self.objective.times(u)
        labels = None if data.labels is None else data.labels[rows][mine].to(self.device)
        return labels, times[mine].to(self.device), z[mine].to(self.device)

    @torch.no_grad()
    def held_out_loss(self, data: ImageSet | Crops | None = None) -> float:
        """Mean loss of the averaged weights on held-out images or crops, at fixed times and noise."""
        data = self.held_out if data is None else data.measured()
        self.objective.eval()
        with self._averaged():
            total = 0.0
            for i, rows in enumerate(torch.arange(len(data)).split(500)):
                x0 = data.floats(rows).to(self.device)
                total += self.objective(x0, *self._noise(data, rows, _generator(0, 2, i), slice(None))).sum().item()
        return total / len(data)

    def _averaged(self):
        return _Swapped(self.network, self.ema)

    def save(self, loss: float) -> None:
        """Write the state to resume from, the checkpoint of the averaged weights, a log line and a sheet."""
        if self.rank:
            return
        self.losses = {"train": loss, "held_out": self.held_out_loss()}
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        state |= {f"ema.{name}": value for name, value in self.ema.items()}
        for kind, optimizer in self.optimizers.items():
            for i, entry in optimizer.state_dict()["state"].items():
                state |= {f"{kind}.{i}.{name}": torch.as_tensor(value) for name, value in entry.items()}
        clock = {
            "step": str(self.step),
            "optimizer": self.config.optimizer,
            "seconds": str(self.seconds),
            "losses": json.dumps(self.losses),
            "scaler": json.dumps(self.scaler.state_dict()),
        }
        with atomic(self.out / STATE) as temporary:
            tensors = {name: value.contiguous() for name, value in state.items()}
            save_file(tensors, temporary, metadata=sealed(tensors, clock))
        with (self.out / LOG).open("a") as file:
            line = {"step": self.step, "seconds": round(self.seconds, 1), **self.losses}
            file.write(json.dumps(line) + "\n")
        self._write_checkpoint()

    def test(self, data: ImageSet | Crops) -> float:
        """The averaged weights' loss on a test set, which the card of the checkpoint then states too."""
        self.losses |= {"held_out": self.held_out_loss(), "test": self.held_out_loss(data)}
        if not self.rank:
            self._write_checkpoint()
        return self.losses["test"]

    def _write_checkpoint(self) -> None:
        trained = self.objective.trained
        if isinstance(trained, ScorePrior) and trained.moments is None:
            self._know_moments(trained)
        self.objective.eval()
        with self._averaged():
            record = {
                "steps": self.step,
                "seconds": round(self.seconds),
                "losses": self.losses,
                "config": asdict(self.config),
            }
            checkpoints.save(self.out, trained, **self.notes, training=record)
            self.objective.sheet(self.out)

    def resume(self) -> bool:
        """Go on from the state in the folder, if there is one.

        Raises: ValueError where that state belongs to another network or optimiser.
        """
        path = self.out / STATE
        if not path.exists():
            return False
        state, clock = read_tensors_and_metadata(path, "training state", AFRESH)
        try:
            self.network.load_state_dict(_under("network.", state))
        except RuntimeError as error:
            raise ValueError(f"{path} was saved for another network: {error}") from None
        if (saved := clock.get("optimizer", "adam")) != self.config.optimizer:  # older states do not name it
            raise ValueError(f"{path} was saved by training.optimizer = {saved!r}: set that, or {AFRESH}")
        with reading(path, "training state", AFRESH):
            averages = {name: value.to(self.device) for name, value in _under("ema.", state).items()}
            own = self.network.state_dict()
            if {n: v.shape for n, v in averages.items()} != {n: v.shape for n, v in own.items()}:
                raise FileError(f"{path} has averages of another network: {AFRESH}")
            scaler, losses = json.loads(clock["scaler"]), json.loads(clock.get("losses", "{}"))
            step, seconds = int(clock["step"]), float(clock["seconds"])
            for kind, optimizer in self.optimizers.items():
                entries: dict[int, dict[str, Tensor]] = {}
                for name, value in _under(f"{kind}.", state).items():
                    index, key = name.split(".")
                    entries.setdefault(int(index), {})[key] = value
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": entries, "param_groups": groups})
            self.scaler.load_state_dict(scaler)
        self.ema, self.step, self.seconds, self.losses = averages, step, seconds, losses
        return True


class _Swapped:
    """The network with other weights inside the block."""

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]):
        self.network, self.weights = network, weights

    def __enter__(self):
        self.own = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.weights)

    def __exit__(self, *_):
        self.network.load_state_dict(self.own)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _generator(seed: int, stream: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(seed, stream, index))


def _seed(*entropy: int) -> int:
    # hashed: a torch.Generator on the CPU only uses the lower 32 bits
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
