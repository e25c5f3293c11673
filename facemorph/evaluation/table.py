"""Several runs' reports side by side, as text."""

from pathlib import Path
from typing import Any


def table(reports: list[dict[str, Any]]) -> str:
    """Several runs side by side, a line a figure."""
    rows: list[tuple[str, list[str]]] = [("", [Path(report["run"]).name for report in reports])]

    def add(label: str, form: str, *keys: str) -> None:
        values = []
        for report in reports:
            value: Any = report
            for key in keys:
                value = value[key]
            values.append(form.format(value))
        rows.append((label, values))

    def add_distances(space: str, title: str, form: str) -> None:
        for kind in ("frechet", "kernel"):
            found = [report["distances"][space] for report in reports]
            halves = f"{found[0]['floor'][kind]:{form}}"
            name = f"{kind.capitalize()} distance, {title} (halves of the data {halves})"
            bounds = [(one[kind]["value"], one[kind]["low"], one[kind]["high"]) for one in found]
            rows.append((name, [f"{at:{form}} ({low:{form}} to {high:{form}})" for at, low, high in bounds]))
            if kind == "frechet":
                add("  of which bias, about", f"{{:{form}}}", "distances", space, "frechet_bias")

    add_distances("descriptors", "faces", ".4f")
    add_distances("imagenet", "ImageNet", ".2f")
    for name, key in (("a face is seen", "seen"), ("nearer than 0.6 to a person", "near_a_person")):
        add(name, "{:.0%}", "samples_show", key)
    add("between two persons", "{:.0%}", "samples_show", "between_persons")
    add("diversity, share of the data's", "{:.0%}", "diversity", "descriptors", "ratio")
    add("nearest training face, median", "{:.3f}", "memory", "descriptors", "samples_median")
    add("  the same of real faces", "{:.3f}", "memory", "descriptors", "real_median")
    add("nearer than 95 % of real faces are", "{:.0%}", "memory", "descriptors", "nearer_share")
    add("nearer to a mirrored training face", "{:.0%}", "mirrored", "samples")
    add("expressions covered", "{:.0%}", "expressions", "coverage")
    add("  by as many real faces", "{:.0%}", "expressions", "coverage_real")
    add("  by samples between two persons", "{:.0%}", "expressions_between_persons", "coverage")
    add("walks: mean step", "{:.3f}", "walks", "mean_step")
    add("walks: largest step over the mean", "{:.2f}", "walks", "largest_over_mean")
    widths = [max(len(values[i]) for _, values in rows) for i in range(len(reports))]
    label_width = max(len(label) for label, _ in rows)
    return "\n".join(
        f"{label:<{label_width}}  "
        + "  ".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))
        for label, values in rows
    )
