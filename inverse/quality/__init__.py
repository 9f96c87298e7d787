"""Measures of an estimate against the truth, and checks of samples against y: residuals, p-values, scale."""

from inverse.quality.comparison import Agreement, agreement
from inverse.quality.measures import psnr, ssim
from inverse.quality.residuals import (
    FLOORS,
    POOR,
    RARE,
    PoorFit,
    judged,
    mean_chi2,
    misfit,
    misfits,
    predictive_p,
    prior_predictive_p,
    residual_chi2,
)
from inverse.quality.scale import ImplausibleScale, implausible

__all__ = [
    "FLOORS",
    "POOR",
    "RARE",
    "Agreement",
    "ImplausibleScale",
    "PoorFit",
    "agreement",
    "implausible",
    "judged",
    "mean_chi2",
    "misfit",
    "misfits",
    "predictive_p",
    "prior_predictive_p",
    "psnr",
    "residual_chi2",
    "ssim",
]
