"""How much: tokens, epochs and parameters explained."""

from __future__ import annotations

from cockpit import format as fmt
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.explanation import Explanation, lines, said
from cockpit.explaining.figures import FRESH_EPOCHS, count
from cockpit.planning.plan import GPT2_SIZES, parameters_by_part
from cockpit.planning.scaling import TOKENS_PER_PARAMETER, chinchilla_tokens


def tokens(evidence: Evidence) -> Explanation:
    """Tokens trained on."""
    state, per_step, size = evidence.state, evidence.tokens_per_step, evidence.parameters
    formula, usual, says, change = None, "", "", "train.max_steps and tokens_per_step."
    if per_step and state.step:
        formula = f"{state.step:,} steps × {per_step:,} tokens a step = {state.step * per_step:,}"
    ratio = None
    if size and state.tokens:
        ratio = state.tokens / size
        formula = lines(formula, f"{count(state.tokens)} / {count(size)} parameters = {fmt.significant(ratio)} each")
    if size:
        wanted = chinchilla_tokens(size)
        usual = (
            f"{TOKENS_PER_PARAMETER:.0f} a parameter use arithmetic best (Chinchilla): {count(wanted)} here. Models "
            "that are made to be used get many more; nanoGPT's 124M has 2,400 a parameter, llm.c's 81."
        )
        if per_step:
            change = f"train.max_steps: {round(wanted / per_step):,} steps of {per_step:,} tokens are {count(wanted)}."
    if ratio is not None:
        times = ratio / TOKENS_PER_PARAMETER
        says = (
            f"{times:.2f} of what Chinchilla gives this size: it can take in more, if there is that much text."
            if times < 0.9
            else "About what Chinchilla gives this size." if times <= 1.5
            else f"{fmt.significant(times)} times what Chinchilla gives this size: a larger model would have made more "
            "of the same arithmetic."
        )  # fmt: skip
    known = state.tokens if state.tokens or per_step else None
    return Explanation(
        id="tokens", name="tokens", value=count(known),
        meaning="Tokens trained on so far, repeated ones counted each time.", computation=formula or "", usual=usual,
        says=says, change=change,
    )  # fmt: skip


def epochs(evidence: Evidence) -> Explanation:
    """Passes over the training split."""
    state = evidence.state
    value = state.epochs
    split = state.started.tokens_per_epoch if state.started else None
    says = ""
    if value is not None:
        says = (
            "Every token was new so far: nothing can have been learnt by heart, and dropout is not needed."
            if value <= 1
            else "Repeats still teach about as much as new text." if value <= FRESH_EPOCHS
            else "Repeats teach less and less from here on: watch validation against training."
        )  # fmt: skip
    per_step = evidence.tokens_per_step
    return Explanation(
        id="epochs", name="epochs", value=fmt.significant(value),
        meaning="How often each token of the training split has been seen, on average.",
        computation=f"{state.tokens:,} tokens / {split:,} in an epoch = {fmt.significant(value)}" if split else "",
        usual="Under 1 on web text. Up to 4 repeats are about as good as new text, after 16 they add next to nothing "
        "(Muennighoff et al. 2023). Shakespeare by characters has about 80 in nanoGPT's 5,000 steps.",
        says=says,
        change=said(
            "More text, or fewer steps.",
            f"One epoch is {split / per_step:,.0f} steps here." if split and per_step else None,
        ),
    )  # fmt: skip


def parameters(evidence: Evidence) -> Explanation:
    """The model's size."""
    size, without, profile, rows = (
        evidence.parameters, evidence.parameters_without_positions, evidence.profile, evidence.rows
    )  # fmt: skip
    formula = None
    if profile and rows and size:
        parts = parameters_by_part(profile.model, rows)
        total = sum(parts.values())
        if abs(total - size) <= 1:
            formula = " + ".join(f"{part} {count(number)}" for part, number in parts.items()) + f" = {count(size)}"
    if size and without and size != without:
        formula = lines(formula, f"without positions, as nanoGPT counts: {without:,}")
    near = ""
    if profile and rows:
        model = profile.model
        near = f"{model.n_layer} layers of width {model.n_embd}. " + said(
            ", ".join(f"{name}: {layers} of {width}" for name, (layers, _, width) in GPT2_SIZES.items()) + "."
        )
    share = None
    if rows and profile and without:
        embedding = rows * profile.model.n_embd
        if embedding > 0.5 * without:
            share = f"{100 * embedding / without:.0f} % of them are the token embedding: a smaller vocabulary fits it."
    wanted = f"It wants about {count(chinchilla_tokens(size))} tokens." if size else None
    return Explanation(
        id="parameters", name="parameters", value=count(size),
        meaning="Numbers that training adjusts. Each costs 4 bytes as a weight and 8 as AdamW's moments, and "
        "6 FLOPs a token.",
        computation=formula or "", usual=near, says=said(wanted, share),
        change="model.n_layer and model.n_embd (blocks grow as n_layer · 12 · n_embd²), the vocabulary; each needs a "
        "new run.",
    )  # fmt: skip
