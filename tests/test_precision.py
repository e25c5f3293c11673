"""Choosing how a run computes: what is tried, that trying leaves no trace, and that a run keeps what it took."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import make_faces

from facemorph.dcgan import trial
from facemorph.dcgan.config import Config, config_from_dict
from facemorph.dcgan.precision import PRECISIONS, noted_precision
from facemorph.dcgan.train import train
from facemorph.dcgan.trial import candidates, fastest_precision, try_precisions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("faces"))


def small(faces: Path, **training: object) -> Config:
    return config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"size_px": 16, "z_dim": 8, "channels": 8},
            "training": {"steps": 4, "batch_size": 16, **training},
        }
    )


def prefer(name: str) -> Callable[..., dict[str, float]]:
    return lambda config, device, persons, names: {other: 1.0 if other == name else 2.0 for other in names}


def weights(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("generator.safetensors", "checkpoint.safetensors")]


def test_every_way_that_the_settings_allow_is_tried() -> None:
    config = config_from_dict({"network": {"size_px": 16, "channels": 8}, "training": {"batch_size": 8}})
    assert sorted(candidates(config, CPU)) == sorted(PRECISIONS)
    assert set(try_precisions(config, CPU, 0, candidates(config, CPU), 60)) == set(PRECISIONS)
    without = {"float32", "bfloat16"}
    assert set(candidates(replace(config, training=replace(config.training, r1=1.0)), CPU)) == without
    assert set(candidates(replace(config, network=replace(config.network, kernel_px=5)), CPU)) == without


def test_the_full_networks_are_tried_within_the_time() -> None:
    config = Config()
    began = time.process_time()
    times = try_precisions(config, CPU, 0, candidates(config, CPU), 0.2)
    spent = (time.process_time() - began) / torch.get_num_threads()
    assert len(times) >= 1
    assert spent < 2 + 0.2, "one step may be begun within the time, and building the networks is not counted"


def test_a_tie_goes_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    monkeypatch.setattr(trial, "try_precisions", lambda *_: {"bfloat16": 0.97, "float32": 1.0})
    assert fastest_precision(config, CPU, 0) == "float32"
    monkeypatch.setattr(trial, "try_precisions", lambda *_: {"bfloat16": 0.9, "float32": 1.0})
    assert fastest_precision(config, CPU, 0) == "bfloat16"


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_choice_leaves_no_trace_in_the_numbers(
    name: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = try_precisions

    def really_try(config: Config, device: torch.device, persons: int, names: list[str]) -> dict[str, float]:
        assert len(tried(config, device, persons, names)) > 1
        return prefer(name)(config, device, persons, names)

    monkeypatch.setattr(trial, "try_precisions", really_try)
    before = torch.get_rng_state()
    train(small(faces), tmp_path / "auto", device_name="cpu")
    torch.set_rng_state(before)
    train(small(faces, precision=name), tmp_path / "forced", device_name="cpu")
    assert weights(tmp_path / "auto") == weights(tmp_path / "forced")
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["precision"] == PRECISIONS[name]
    assert "precision: auto" in (tmp_path / "auto" / "config.yaml").read_text()


def test_a_continued_run_keeps_its_way_and_does_not_try(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "try_precisions", prefer("bfloat16"))
    train(small(faces), tmp_path / "whole", device_name="cpu")
    train(small(faces, steps=2), tmp_path / "parts", device_name="cpu")
    monkeypatch.setattr(trial, "try_precisions", prefer("float32"))
    train(small(faces), tmp_path / "parts", device_name="cpu")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    train(small(faces), tmp_path / "other", device_name="cpu")
    assert weights(tmp_path / "other") != weights(tmp_path / "whole")


def test_runs_of_earlier_versions_keep_theirs() -> None:
    assert noted_precision({"precision": "float32, by Winograd's convolutions"}) == "float32-winograd"
    assert noted_precision({"precision": "float32"}) == "float32"
    assert noted_precision({"precision": "bfloat16"}) == "bfloat16"
    assert noted_precision({}) is None


def test_few_images_of_large_networks_many_of_small_ones() -> None:
    sides = [config_from_dict({"network": {"size_px": side, "channels": 64}}) for side in (16, 64, 256)]
    counts = [trial._images(config) for config in sides]
    assert counts == sorted(counts, reverse=True)
    assert counts[1] == 16
    assert np.array(counts).min() >= 2
