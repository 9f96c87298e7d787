"""Priors over the latents of an autoencoder."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from priors.arguments import function, rows
from priors.base import VJP, Prior
from priors.modes import own_modes
from priors.moments import SecondMoments


class Latent(Prior, nn.Module):
    """The prior of pictures decode(z), with a prior over their latents z.

    Diffusion and guidance take place in latent space: `inverse.solve` measures the decoded picture, which makes a
    nonlinear measurement of z, and decodes its samples; `inverse.sample` decodes too. Of the methods, "linearized" is
    moment matching through the decoder, by products with its Jacobian, and "pivot-linearized" reweights its modes;
    "dps", "psld", "resample", "daps" and "reddiff" take its gradient.
    Formula: x = decode(z), y = A(decode(z)) + noise.
    Source: Rombach et al. 2022 (latent diffusion); Rout et al. 2023 (posterior sampling through a decoder).
    Arguments: prior over latents, such as of `from_velocity`; encoder: pictures (N, C, H, W) -> latents (N, *E), or
    None where neither `encode` nor "psld" is needed; decoder: latents (N, *E) -> pictures in [0, 1] image units, in
    torch. Both are modules in evaluation mode or functions, and include the scaling of latents and of pictures, such as
    ``lambda z: vae.decode(z / 0.18215).sample / 2 + 0.5``. A decoder that is a linear `operators.Operator` leaves a
    linear measurement linear, so that every method serves.
    Attributes: as the prior over latents; event_shape (E) is that of latents.
    Raises: TypeError for a prior that is none and for a coder that is not callable.
    """

    def __init__(
        self,
        prior: Prior,
        encoder: Callable[[Tensor], Tensor] | None,
        decoder: Callable[[Tensor], Tensor],
    ):
        nn.Module.__init__(self)
        if not isinstance(prior, Prior):
            raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior over latents")
        for name, coder in (("encoder", encoder), ("decoder", decoder)):
            if coder is not None or name == "decoder":
                function(name, coder)
        self.prior, self.encoder, self._decode = prior, encoder, decoder
        self.sde, self.event_shape, self.variance = prior.sde, prior.event_shape, prior.variance
        self.has_log_prob = prior.has_log_prob

    def _facts(self) -> dict[str, Any]:
        return {"prior": self.prior, "decoder": self.decoder}

    @property
    def decoder(self) -> Callable[[Tensor], Tensor]:
        """Latents (N, *E) -> pictures."""
        return self._decode

    @property
    def device(self) -> torch.device:
        return self.prior.device

    @property
    def differentiable(self) -> bool:
        """Whether the denoiser of latents is."""
        return self.prior.differentiable

    @property
    def moments(self) -> SecondMoments | None:
        """Those of latents."""
        return self.prior.moments

    @property
    def bfloat16_loss(self) -> float | None:
        """That of the network over latents."""
        return self.prior.bfloat16_loss

    def in_bfloat16(self) -> "Latent":
        """The same with the network over latents in bfloat16; the decoder stays as it is."""
        return Latent(self.prior.in_bfloat16(), self.encoder, self.decoder)

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """grad log p_t of latents x (N, *E), t scalar or (N,) -> (N, *E)."""
        return self.prior.score(x, t)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[z | z_t = x] of latents x (N, *E), t scalar or (N,) -> (N, *E)."""
        return self.prior.denoise(x, t)

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        return self.prior.denoise_vjp(x, t)

    def log_prob(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """log p_t of latents x (N, *E) where it is known in closed form, (N,) nats."""
        return self.prior.log_prob(x, t)

    @own_modes
    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The latents of pictures x (N, C, H, W) in image units, (N, *E).

        Raises: ValueError for a prior without an encoder, and for latents of another shape.
        """
        if self.encoder is None:
            raise ValueError("this Latent has no encoder: expected one, Latent(prior, encoder, decoder)")
        return rows("the encoder's latents", self.encoder(rows("x", x)), self.event_shape)

    @own_modes
    @torch.no_grad()
    def pictures(self, x: Tensor) -> Tensor:
        return rows("the decoder's pictures", self.decoder(rows("latents", x, self.event_shape)))
