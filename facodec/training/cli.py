"""``facodec train``: speech in, weights out."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facodec.extras import need
from facodec.files import need_folder, need_place, need_speech
from facodec.reasons import FileError, shown
from facodec.training.config import STAGES, TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from facodec.identity import ModelIdentity
    from facodec.training.coded import CodedCorpus
    from facodec.training.corpus import Corpus

EXAMPLES = """examples:
  facodec train --data speech/ --run runs/mine              train until done; Ctrl-C saves
  facodec train --data speech/ --run runs/mine --minutes 9  a slice; run it again to go on
  facodec train --data me/ --run runs/me --init live --steps 300 --learning-rate 3e-4 \\
      --warmup 30 --average 0.98                            fine-tune the bundled weights
  facodec train --data speech/ --run runs/on --init live --stage decoder   the decoder alone: codes
                                                            stay as they are, minutes not hours
  facodec train --run runs/mine --export weights/           write the averaged weights for use
                                                            (and with --data the voices that
                                                            weights/voices.json notes)
"""
DIGITS = 9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, help="folder of speech, speakers in sub-folders")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; resumes it")
    parser.add_argument(
        "--valid", type=Path, help="folder of other speech to measure on and to listen to"
    )
    parser.add_argument(
        "--report-every",
        type=_whole,
        default=1000,
        metavar="STEPS",
        help="steps between such reports, default 1000",
    )
    parser.add_argument("--config", type=Path, help="settings as JSON (see a run's config.json)")
    parser.add_argument(
        "--init", metavar="MODEL", help="start from a model's weights, e.g. live, or a run's"
    )
    parser.add_argument(
        "--stage", choices=STAGES, help="what is trained; decoder: on codes of --init, which stay"
    )
    parser.add_argument("--minutes", type=_minutes, default=math.inf, help="stop after about this")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the weights there")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--threads", type=_whole, metavar="N", help="CPU threads")
    for field in fields(TrainConfig):
        if field.type in ("int", "float"):
            kind = int if field.type == "int" else float
            name = "--" + field.name.replace("_", "-")
            parser.add_argument(name, type=kind, help=f"default {field.default}")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in float32")


def _whole(text: str) -> int:
    """For argparse: a number of things."""
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS and int(text)):
        most = 10**DIGITS - 1
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most}, got {text}")
    return int(text)


def _minutes(text: str) -> float:
    """For argparse: minutes, which may be endless."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected minutes, more than 0, got {text}")
    return value


def settings(args: argparse.Namespace) -> TrainConfig:
    """The run's own settings if it has some, else the given file or the defaults; options win."""
    saved = args.run / "config.json"
    base = args.config or (saved if saved.exists() else None)
    config = TrainConfig.load(base) if base else TrainConfig()
    given = {f.name: getattr(args, f.name, None) for f in fields(TrainConfig)}
    changed = {k: v for k, v in given.items() if v is not None and k != "bf16"}
    return replace(config, bf16=config.bf16 and args.bf16, **changed)


def run(args: argparse.Namespace) -> int:
    import numpy  # noqa: F401 - torch's own import of it swallows a Ctrl-C
    import torch

    from facodec.loading import need_device

    if args.data is None and args.export is None:
        sentence = "nothing to do: give --data DIR to train, or --export DIR"
        raise argparse.ArgumentError(None, sentence)
    need_device(args.device)
    for folder in (args.data, args.valid):
        if folder is not None:
            need_speech(folder)
    if args.export is not None:
        need_folder(args.export)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.data is not None:
        _train(args)
    if args.export is not None:
        _export(args.run, args.export, args.data)
    return 0


def _train(args: argparse.Namespace) -> None:
    from facodec.training.corpus import find_files, read_each
    from facodec.training.loop import Trainer, need_checkpoint
    from facodec.training.report import PAGE, keep_examples, validate, write_page

    initial, helpers, config = None, None, settings(args)
    if config.stage == "content":
        need("teachers")
    if args.valid is not None and next(read_each(find_files(args.valid)), None) is None:
        raise ValueError(f"no file below {shown(args.valid)} can be read")  # before the work
    need_folder(args.run)
    need_place(_cache(args.run))
    need_checkpoint(args.run, config)
    if args.init:
        initial, helpers = _start_from(args.init)  # before speech is packed, which takes hours
        config = replace(config, own_pitch_from=0, convert_from=0)
        if config.stage != "detail":
            config = replace(config, unquantized=-1)
    corpus = _corpus(args, config)
    speakers = int(corpus.speakers.max()) + 1
    count = len(corpus.lengths)
    print(f"{corpus.hours:.2f} h, {count} utterances, {speakers} speakers", flush=True)
    trainer = Trainer(corpus, config, args.run, args.device, initial, helpers)

    reported = trainer.step

    def report(trainer: Trainer) -> None:
        nonlocal reported
        due = trainer.step - reported >= args.report_every or trainer.step == config.steps
        if args.valid and due:
            reported = trainer.step
            trainer.log(validate(trainer.average, args.valid))
            examples = args.run / "examples" / f"step_{trainer.step:07}"
            keep_examples(trainer.average, args.valid, examples)
        write_page(args.run)

    trainer.train(minutes=args.minutes, on_save=report)
    print(f"step {trainer.step} of {trainer.config.steps}: saved in {args.run}")
    print(f"curves and examples: {args.run / PAGE}")


def _corpus(args: argparse.Namespace, config: TrainConfig) -> Corpus | CodedCorpus:
    """The packed speech, with the codes of the initial weights where these stay."""
    import facodec
    from facodec.training.coded import pack_coded
    from facodec.training.corpus import pack

    cache = _cache(args.run)
    if config.stage == "all":
        return pack(args.data, cache)
    if args.init is None:
        raise ValueError(f"stage {config.stage!r} needs a model to go on from: give --init MODEL")
    return pack_coded(
        args.data,
        cache,
        facodec.load(args.init),
        noisy=config.noisy > 0,
        voiceprints=config.stage == "content" and config.voiceprint_weight > 0,
        speeds=config.speeds,
    )


def _cache(run: Path) -> Path:
    """Folder of the packed speech, which runs beside each other share."""
    return run.parent / "cache"


def _start_from(model: str) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Weights of a model by its name or folder; of a run, its averaged weights and those of the
    networks that helped to train them."""
    import facodec
    from facodec.bundled.model import LiveModel
    from facodec.training.loop import CHECKPOINT, read_checkpoint

    checkpoint = Path(model) / CHECKPOINT
    if checkpoint.exists():
        state = read_checkpoint(checkpoint)
        try:
            return state["average"], state["networks"]
        except KeyError as error:
            raise FileError(f"{shown(checkpoint)} is not a checkpoint: no {error}") from error
    found = facodec.load(model).model
    if not isinstance(found, LiveModel):
        raise ValueError(f"{model} is a model {found.name!r}: only the live model is trained here")
    return found.state_dict(), None


def _export(run: Path, target: Path, data: Path | None) -> None:
    from facodec.bundled.eight_bits import ALL, round_weights
    from facodec.bundled.storage import save_live
    from facodec.training.loop import CHECKPOINT
    from facodec.training.report import averaged_model
    from facodec.weights.hashing import identity_of

    if not (run / CHECKPOINT).exists():
        raise ValueError(f"{run} holds no {CHECKPOINT}: train there first")
    model, step = averaged_model(run / CHECKPOINT)
    config = TrainConfig.load(run / "config.json")
    round_weights(model, model.decoding_parts if config.stage == "decoder" else ALL)
    before = _identity_in(target)
    save_live(model, target)
    config.save(target / "train.json")
    made = identity_of(model)
    print(f"weights of step {step} written to {target}: {made}")
    if before not in (None, made):
        print(f"codes and voices of {before}, which was there, are not for them")
    _export_voices(target, data)


def _identity_in(folder: Path) -> ModelIdentity | None:
    """Identity of the live model in a folder; None where there is none that can be read."""
    from facodec.bundled.storage import load_live
    from facodec.weights.hashing import identity_of

    try:
        return identity_of(load_live(folder))
    except FileError:
        return None


def _export_voices(target: Path, data: Path | None) -> None:
    """Make the voices noted beside the weights anew: those of other weights mean nothing here."""
    import facodec
    from facodec.training.enrolment import make_voices
    from facodec.weights.timbres import VECTORS, save_voices, voice_notes

    notes = voice_notes(target)
    (target / VECTORS).unlink(missing_ok=True)
    _export_speakers(target, data)
    if notes and data is None:
        print("its voices are left out: --data DIR, with their speakers' folders, makes them")
    elif notes and data is not None:
        codec = facodec.load(target)
        save_voices(target, make_voices(codec, notes, data), codec.identity)
        print(f"voices {', '.join(notes)} written there too")


def _export_speakers(target: Path, data: Path | None) -> None:
    """Make the distribution that anonymous voices are drawn from anew."""
    import facodec
    from facodec.training.enrolment import speaker_timbres
    from facodec.weights.speakers import FEWEST, VECTORS, Speakers, save_speakers

    (target / VECTORS).unlink(missing_ok=True)
    if data is None:
        print("anonymous voices are left out: --data DIR, with folders of many speakers, adds them")
        return
    codec = facodec.load(target)
    timbres = speaker_timbres(codec, data)
    if len(timbres) < FEWEST:
        print(f"anonymous voices are left out: {len(timbres)} speakers, {FEWEST} are needed")
        return
    save_speakers(target, Speakers.of(timbres), codec.identity)
    print(f"distribution of {len(timbres)} speakers for anonymous voices written there too")


def main() -> int:
    parser = argparse.ArgumentParser(prog="facodec train", allow_abbrev=False)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
