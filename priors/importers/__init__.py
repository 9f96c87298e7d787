"""Importers: third-party checkpoints and any denoiser as priors in image units."""
