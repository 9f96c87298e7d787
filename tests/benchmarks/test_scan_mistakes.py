"""The table of faults of scans: its scans are right ones, and its rows say what was found and lost."""

import torch

import priors
from benchmarks.trained.scan_mistakes import FAULTS, alarms, measured, rows
from operators import Fourier
from operators.kspace import ifftc, to_complex


def test_scans_without_a_fault_are_the_operator_and_noise():
    picture = priors.samples("brain-mri").floats()[0, 0]
    m = measured(picture, 1, coils=4, sigma=0.02, acceleration=2.0)
    problem = m.scan().problem(0)
    assert not bool(m.kspace[:, ~m.mask].any()) and 0.4 < float(m.mask.double().mean()) < 0.6
    noise = torch.view_as_real(m.noise)
    assert abs(float(noise.std()) - 0.02) < 1e-3
    phase = (m.maps.conj() * ifftc(m.signal)).sum(0).angle()
    clean = to_complex(Fourier(m.mask, m.maps, phase.float())(picture[None, None]))[0]
    torch.testing.assert_close(clean, torch.where(m.mask, m.signal, 0).to(torch.complex64), atol=1e-5, rtol=0)
    assert problem.noise_ratio == 1


def test_every_fault_changes_the_scan():
    m = measured(priors.samples("brain-mri").floats()[1, 0], 2, given=True)
    for name, fault in FAULTS.items():
        wrong = fault(m)
        same = torch.equal(wrong.kspace, m.kspace) and torch.equal(wrong.maps, m.maps)
        assert not same and wrong.kspace.shape == m.kspace.shape, name
        assert not bool(wrong.kspace[:, ~m.mask].any()), name


def test_no_alarm_and_the_largest_silent_loss():
    assert alarms(priors.samples("brain-mri").floats()[:, 0], 3, 100) == 0
    one = {"right": 30.0, "ignored": 20.0, "read": 29.0, "warned": True, "modelled": False}
    quiet = {"right": 31.0, "ignored": 25.0, "read": 25.0, "warned": False, "modelled": False}
    (row,) = rows({"a fault": [one, quiet]})
    assert row["warned"] == "1 of 2" and row["whitened"] == "0 of 2" and row["largest silent loss, dB"] == "6.0"
    assert row["loss ignored, dB"] == "8.0 (6.0 to 10.0)" and row["loss read, dB"] == "3.5 (1.0 to 6.0)"
    assert rows({"a fault": [one]})[0]["largest silent loss, dB"] == "-"
