"""Faces of nobody: random ones, one changed along directions, two mixed by layers."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from facemorph.api.network import UNNAMED
from facemorph.web import panels
from facemorph.web.shop import Shop
from facemorph.web.words import Words

MANY = 8
LAST_SEED = 999


def build(shop: Shop, words: Words, live: dict[str, Any]) -> None:
    """The tab."""
    _random_faces(shop, words, live)
    _one_face(shop, words, live)
    _style_mix(shop, words, live)


def _quickly(shop: Shop, function: Callable[..., str]) -> Callable[..., str]:
    """The function as a handler, which runs in the thread that sliders have to themselves."""

    def run(*values: Any) -> str:
        return shop.quick.submit(function, *values).result()

    return run


def _random_faces(shop: Shop, words: Words, live: dict[str, Any]) -> None:
    network = shop.network

    def faces(first: float, truncation: float) -> str:
        seeds = [max(0, int(first)) + number for number in range(MANY)]
        images = network.render(network.draw(seeds, truncation=min(max(float(truncation), 0), 1)))
        texts = [words("seed_number", seed=seed) for seed in seeds]
        shown = [panels.picture(image, text, text) for image, text in zip(images, texts, strict=True)]
        return panels.row(shown, "fm-eight")

    gr.HTML(f"<h2>{panels.escape(words('random_faces'))}</h2>")
    many = gr.HTML(faces(0, 0.7), elem_id="faces")
    with gr.Row():
        first = gr.Slider(0, LAST_SEED, 0, step=MANY, label=words("first_seed"), min_width=240, elem_id="first-seed")
        truncation = gr.Slider(0, 1, 0.7, step=0.05, label=words("truncation"), min_width=240, elem_id="truncation")
    for slider in (first, truncation):
        slider.input(_quickly(shop, faces), [first, truncation], many, **live)


def _one_face(shop: Shop, words: Words, live: dict[str, Any]) -> None:
    network = shop.network
    low, high = network.ages or (0.0, 1.0)

    def change(seed: float, by_age: bool, age: float, gender: float, *unnamed: float) -> str:
        latent = network.draw([max(0, int(seed))])[0]
        strengths = [min(max(float(one), -3), 3) for one in unnamed]
        years = min(max(float(age), low), high) if by_age and network.ages else None
        pull = min(max(float(gender), -1), 1) if network.has_gender else 0
        moved = network.move(latent, age=years, gender=pull, unnamed=strengths)
        text = words("seed_number", seed=int(seed))
        return panels.row([panels.picture(network.render(moved[None])[0], text, text)], "fm-one")

    gr.HTML(f"<h2>{panels.escape(words('one_face'))}</h2>")
    with gr.Row(elem_classes="fm-split"):
        with gr.Column(min_width=280):
            one = gr.HTML(change(0, False, low, 0), elem_id="one-face")
        with gr.Column(min_width=280):
            seed = gr.Slider(0, LAST_SEED, 0, step=1, label=words("face_seed"))
            by_age = gr.Checkbox(False, label=words("own_age"), visible=network.ages is not None)
            age = gr.Slider(
                low, high, 30, step=1, label=words("age"), visible=network.ages is not None, elem_id="age-of"
            )
            gender = gr.Slider(-1, 1, 0, step=0.1, label=words("gender"), visible=network.has_gender)
            unnamed = [
                gr.Slider(-3, 3, 0, step=0.1, label=words("unnamed", number=number + 1)) for number in range(UNNAMED)
            ]
    moved = [seed, by_age, age, gender, *unnamed]
    for control in (seed, by_age, gender, *unnamed):
        control.input(_quickly(shop, change), moved, one, **live)
    # moving the age switches it on
    age.input(_quickly(shop, lambda seed, _, *others: change(seed, True, *others)), moved, one, **live)
    age.input(None, None, by_age, js="() => true", **live)


def _style_mix(shop: Shop, words: Words, live: dict[str, Any]) -> None:
    network = shop.network

    def mix(first: float, second: float, layers: list[str]) -> str:
        a, b = network.draw([max(0, int(first)), max(0, int(second))])
        known = [one for one in network.layers if one in layers]
        drawn = network.render(network.mix_styles(a, b, known)[None])[0]
        images = [*network.render(network.draw([max(0, int(first)), max(0, int(second))])), drawn]
        texts = [words("mix_first"), words("mix_second"), words("mixed")]
        return panels.row([panels.picture(image, text, text) for image, text in zip(images, texts, strict=True)])

    gr.HTML(f"<h2>{panels.escape(words('style_mix'))}</h2>")
    mixed = gr.HTML(mix(0, 1, ["coarse"]), elem_id="mixed")
    with gr.Row():
        a = gr.Slider(0, LAST_SEED, 0, step=1, label=words("mix_first"), min_width=240)
        b = gr.Slider(0, LAST_SEED, 1, step=1, label=words("mix_second"), min_width=240)
        layers = gr.CheckboxGroup(
            [(words(name), name) for name in network.layers], value=["coarse"], label=words("mix_layers")
        )
    for control in (a, b, layers):
        control.input(_quickly(shop, mix), [a, b, layers], mixed, **live)
