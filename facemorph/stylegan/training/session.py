"""Before the loop and around it: what a run needs is read and checked, and its folder written.

A folder is written when everything is checked; a checkpoint only while all numbers are finite.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facemorph.config import plain, to_yaml
from facemorph.distributed import ProcessGroup
from facemorph.errors import InputError, RunError, TrainingError
from facemorph.files import remove_torn, write_json, write_text
from facemorph.images import grid, write_image
from facemorph.run_folder import about_this_machine, check_new, check_same_settings
from facemorph.stylegan.formats.converted import write_converted
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.networks.architecture import GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder, write_encoder
from facemorph.stylegan.training.config import Config
from facemorph.stylegan.training.faces import Faces, crop_of, load_faces
from facemorph.stylegan.training.judges import Backbones
from facemorph.stylegan.training.networks import new_architecture
from facemorph.stylegan.training.run import LOG_FIELDS, GeneratorRun
from facemorph.stylegan.training.start import Start, read_start, rebuilt
from facemorph.stylegan.training.state import State, can_draw_alone, shapes_in

log = logging.getLogger("facemorph")

DRAWN = 64  # faces on the grids of real and of drawn ones
MAY_CHANGE = ("training.steps", "training.seconds", "output.sample_every", "output.figures_every")  # of a begun run


@dataclass
class Session:
    """What one call of `train` holds."""

    config: Config
    run: GeneratorRun
    faces: Faces
    state: State
    backbones: Backbones
    dtype: torch.dtype
    start: Start | None


def prepare(config: Config, run: GeneratorRun | None, device: torch.device) -> Session:
    """Read what a run needs: faces, frozen networks, and its networks; a checkpoint's weights come later."""
    dtype = _precision(config, device)
    checkpoint = run.checkpoint if run is not None and run.checkpoint.exists() else None
    start: Start | None = None
    if checkpoint is not None:
        architecture, shape = shapes_in(checkpoint)
        generator, encoder = rebuilt(architecture, shape)
        faces = load_faces(config.data, architecture.resolution, config.training.seed)
    else:
        generator = encoder = None
        crop = crop_of(config.data)
        architecture = new_architecture(config.network, crop)
        if config.start:
            start = read_start(config.start, crop, config.network)
            generator, encoder, architecture = start.generator, start.encoder, start.generator.architecture
        faces = load_faces(config.data, architecture.resolution, config.training.seed)
    backbones = Backbones(config, architecture.alignment.chip).placed(device, dtype)
    state = State(config, architecture, backbones, device, dtype, generator, encoder)
    if start is not None and start.is_grown:
        state.alone = can_draw_alone(config)
    if start is not None and start.judges and config.terms.judges:
        _take_judges(state, start.judges)
    return Session(config, run or GeneratorRun(Path()), faces, state, backbones, dtype, start)


def check_batch(config: Config, group: ProcessGroup) -> None:
    size = config.training.batch_size
    if size % (2 * group.world) or size // group.world < 4:
        raise InputError(
            f"A batch of {size} cannot be shared by {group.world} processes.",
            f"Give a training.batch_size that is a multiple of {2 * group.world}, and 4 for each at least.",
        )


def check_folder(config: Config, run: GeneratorRun) -> None:
    if not (run.path / "config.yaml").exists():
        check_new(run.path)
        return
    GeneratorRun.open(run.path)  # it may be another command's
    before = run.config()
    check_same_settings(run.path, plain(before), plain(config), MAY_CHANGE)
    if before.start != config.start:
        starts = [f"from {one.start}" if one.start else "from noise" for one in (before, config)]
        raise RunError(f"{run.path} holds a run that started {starts[0]}, not {starts[1]}.", "Give another -o.")


def check_same_faces(faces: Faces, run: GeneratorRun) -> None:
    if (run.path / "run.json").exists() and run.about().get("data_sha256") != faces.digest:
        before = run.about().get("faces", {})
        raise RunError(
            f"The faces have changed since {run.path} was started: {before.get('trained_on')} and "
            f"{before.get('held_out')} held out then, {len(faces.images)} and {len(faces.held)} now.",
            "Restore the old ones, or give another -o.",
        )


def begin(session: Session, device: torch.device, group: ProcessGroup) -> None:
    """Write what explains the run, except what is there already, and cut the logs where the checkpoint is."""
    config, run, faces, state = session.config, session.run, session.faces, session.state
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    precision = str(session.dtype).removeprefix("torch.")
    for folder in (run.path, run.samples):
        remove_torn(folder)
    write_text(run.path / "config.yaml", to_yaml(config))  # first: it makes the folder a run folder
    if not (run.path / "run.json").exists():
        run.write_faces(faces.images, faces.held)
        chosen = np.linspace(0, len(faces.images) - 1, min(DRAWN, len(faces.images))).astype(int)
        write_image(run.path / "real.png", grid(faces.images[chosen].transpose(0, 2, 3, 1)))
        write_json(
            run.path / "run.json",
            {
                **about_this_machine(name, group.world),
                "kind": config.kind,
                "precision": precision,
                "seed": config.training.seed,
                "start": config.start,
                "size_px": state.architecture.resolution,
                "crop": faces.crop,
                "faces": {"trained_on": len(faces.images), "held_out": len(faces.held), "source": faces.source},
                "data_sha256": faces.digest,
            },
        )
    run.log.cut(state.step, LOG_FIELDS)
    run.cut_figures(state.step)
    log.info("Training on %s, crop %s, on %s in %s. %s", faces, faces.crop, name, precision, config.recipe)
    if session.start is not None:
        log.info("From %s.", session.start.description)
    if state.step:
        log.info("Continuing from step %d.", state.step)
        _export(session, state.networks())  # a kill may have come between them and the checkpoint


def save(session: Session, networks: tuple[Generator, Encoder]) -> None:
    if not session.state.is_finite():
        raise broken(session)
    _export(session, networks)
    session.state.save(session.run.checkpoint)


def _export(session: Session, networks: tuple[Generator, Encoder]) -> None:
    """Write generator and encoder as every command takes them."""
    run, state, (generator, encoder) = session.run, session.state, networks
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in generator.state_dict().items()}
    about = run.about()
    origin = {
        "made_by": f"facemorph train-generator, {about['facemorph']}", "run": run.path.resolve().name,
        "data_sha256": session.faces.digest, "steps": state.step, "start": session.config.start,
    }  # fmt: skip
    write_converted(run.generator, GeneratorWeights(generator.architecture, arrays, origin), overwrite=True)
    write_encoder(run.encoder, encoder, fingerprint(generator), {"steps": state.step}, overwrite=True)


def broken(session: Session, here: bool = True) -> TrainingError:
    """The error for numbers that are no longer finite."""
    run, state = session.run, session.state
    if here:
        run.write_health()
    kept = run.checkpoint if run.checkpoint.exists() else "No checkpoint"
    return TrainingError(
        f"A loss or weight became NaN or infinite before step {state.step}.",
        f"{kept} is from before. Try training.precision=float32, or smaller rates (training.g_rate, d_rate, e_rate), "
        "in another -o.",
    )


def _precision(config: Config, device: torch.device) -> torch.dtype:
    """Of the convolutions; auto takes bfloat16 where there are units for it, and nothing is tried. On a CPU with
    AVX-512's a step was 1.7 times as fast with it: most of the work is in large convolutions."""
    name = config.training.precision
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        has_units = torch.cuda.is_bf16_supported()
    else:
        found = [getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("amx_tile", "avx512_bf16")]
        has_units = any(ask() for ask in found if ask)
    return torch.bfloat16 if has_units else torch.float32


def _take_judges(state: State, judges: dict[str, Tensor]) -> None:
    own = state.judges.state_dict()
    if any(key not in judges or judges[key].shape != value.shape for key, value in own.items()):
        log.warning("The judges saved with it have other settings; new ones are made.")
        return
    state.judges.load_state_dict({key: judges[key] for key in own})
