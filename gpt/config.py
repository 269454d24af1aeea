"""A profile as typed values: what a run is made of. Strict: an unknown key or a value out of range is an error.

Each key's docstring says its unit and meaning. `None` means "not set": what is then used is said there. Reading TOML,
inheritance and overrides are cockpit.profile's; this module knows only the values.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gpt.coherence import check
from gpt.errors import ProfileError
from gpt.strict import find_mistake, unknown

HUB_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
"""OpenAI's released sizes, by their names on the Hugging Face Hub."""

PositiveInt = Annotated[int, Meta(ge=1)]
NaturalInt = Annotated[int, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
NaturalFloat = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
Steps = Annotated[int, Meta(ge=1, extra={"unit": "steps"})]
StepsOrNone = Annotated[int, Meta(ge=0, extra={"unit": "steps"})]
"""0 stands for none, or never."""
Tokens = Annotated[int, Meta(ge=1, extra={"unit": "tokens"})]
TokensOrNone = Annotated[int, Meta(ge=0, extra={"unit": "tokens"})]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a profile's sections."""


class ModelConfig(Section, frozen=True, kw_only=True):
    """[model]: GPT-2's shape."""

    n_layer: PositiveInt = 12
    """Blocks, each of attention and an MLP."""
    n_head: PositiveInt = 12
    """Heads of attention in each."""
    n_embd: PositiveInt = 768
    """Width of the residual stream; a multiple of n_head."""
    block_size: Tokens = 1024
    """Longest context, tokens."""
    vocab_size: Tokens | None = None
    """Rows of the token embedding; None: the tokenizer's own size. 50304 pads GPT-2's 50257 to 393 × 128, which GPUs
    multiply faster. Rows beyond the tokenizer's are never drawn in a sample; the loss counts them, as nanoGPT's."""
    dropout: Fraction = 0.0
    """Share of activations that training drops; evaluation and sampling drop none."""
    bias: bool = True
    """Biases in linear layers and layer norms, as in GPT-2. RMSNorm and an untied head never have one."""
    init_from: str = "scratch"
    """`scratch`, a Hugging Face GPT-2 folder, or `gpt2`, `gpt2-medium`, `gpt2-large`, `gpt2-xl`."""

    # What follows departs from GPT-2; each default is GPT-2's own.
    positions: Literal["learned", "rotary"] = "learned"
    """`rotary`: queries and keys are turned by their position (RoPE) instead; needs an even width of heads."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """What each block's input is normed by."""
    activation: Literal["gelu", "gelu_erf", "relu2", "swiglu"] = "gelu"
    """`gelu`: GPT-2's, the tanh approximation. `gelu_erf`: the exact one, as nanoGPT's. `relu2`: ReLU squared.
    `swiglu`: gated by SiLU, with an MLP 8/3 as wide as n_embd instead of 4, rounded up to a multiple of 32, which has
    about the same parameters in its three matrices."""
    qk_norm: bool = False
    """An RMSNorm over each head's queries, and one over its keys."""
    n_kv_head: PositiveInt | None = None
    """Heads of keys and values, each shared by n_head / n_kv_head query heads; None: n_head. Fewer make the cache of
    sampling smaller, and the model too."""
    tie_weights: bool = True
    """The token embedding is the head's matrix too; false: the head has one of its own."""
    logit_softcap: PositiveFloat | None = None
    """Logits x become c · tanh(x / c), so that none exceeds c; None: they are left as they are."""
    zero_init: bool = False
    """The projections that write to the residual stream begin as zeros, so that each layer begins as the identity."""

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_kv_head or self.n_head

    @property
    def mlp_width(self) -> int:
        """Channels between the MLP's matrices."""
        return -(-8 * self.n_embd // (3 * 32)) * 32 if self.activation == "swiglu" else 4 * self.n_embd

    def departures(self) -> dict[str, tuple[Any, Any]]:
        """The switches that make it something else than GPT-2: (GPT-2's value, the value here) by key."""
        gpt2 = ModelConfig(n_kv_head=self.n_head)
        ours = msgspec.structs.replace(self, n_kv_head=self.kv_heads)
        pairs = {key: (getattr(gpt2, key), getattr(ours, key)) for key in SWITCHES}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


SWITCHES = ("positions", "norm", "activation", "qk_norm", "n_kv_head", "tie_weights", "logit_softcap", "zero_init")
"""Keys of [model] whose default is GPT-2's and whose other values are not."""


class DataConfig(Section, frozen=True, kw_only=True):
    """[data]: exactly one of input, dir and name."""

    input: str | list[str] | None = None
    """Text files, folders or globs, tokenized on the fly."""
    dir: str | None = None
    """Folder with `train.bin` and `val.bin` (raw uint16, as nanoGPT writes them) and perhaps `meta.pkl`; or with shards
    as llm.c and modded-nanogpt write them, `*train*.bin` and `*val*.bin`."""
    name: Literal["python-stdlib"] | None = None
    """A text that is on every machine: the Python standard library's own source."""
    tokenizer: str | None = None
    """`byte`, `char`, `gpt2`, or a vocabulary of one's own, a file that ends in `.tiktoken`. None: what dir's
    dataset.json says, `char` where it holds a meta.pkl, `gpt2` for other prepared data, `byte` for text."""
    val_fraction: Annotated[float, Meta(gt=0, le=0.5)] = 0.1
    """Share of a text kept for validation: its end, as nanoGPT does."""
    sampling: Literal["shuffle", "replacement"] = "shuffle"
    """`shuffle`: every token once per epoch. `replacement`: random windows, as nanoGPT does."""


class TrainConfig(Section, frozen=True, kw_only=True):
    """[train]: how long, in what portions, on what."""

    max_steps: Steps = 5000
    """Length of the run, in optimizer steps."""
    micro_batch_size: Annotated[int, Meta(ge=1, le=65536, extra={"unit": "sequences"})] | Literal["auto"] = 12
    """Sequences in one forward and backward pass; lowered on the way where memory runs out. `auto`: the most that
    fit and divide tokens_per_step, which it needs; one of the eval_steps batches is 12 sequences then."""
    grad_accum_steps: Annotated[int, Meta(ge=1, extra={"unit": "micro-steps"})] | None = None
    """Micro-steps in a step, of all ranks together; None: 1, or what tokens_per_step needs."""
    tokens_per_step: Tokens | None = None
    """Tokens in a step, instead of grad_accum_steps; a multiple of micro_batch_size × block_size."""
    activation_checkpointing: Literal["off", "selective", "full"] = "off"
    """What the backward pass computes again instead of keeping it: nothing; each MLP, for a ninth more arithmetic; each
    whole layer, for a quarter to a third more. Values stay the same."""
    loss_chunk: TokensOrNone = 0
    """Tokens whose logits exist at once, for a large vocabulary; their gradient computes them again. 0: all of them."""
    eval_interval: StepsOrNone = 250
    """Steps between evaluations; 0: only at the end."""
    eval_steps: Annotated[int, Meta(ge=0, extra={"unit": "batches"})] = 20
    """Batches per split in one evaluation; 0: the whole validation split, and as many windows of the training split."""
    log_interval: Steps = 10
    """Steps between printed lines."""
    noise_scale_interval: StepsOrNone = 100
    """Steps between measurements of the gradient noise scale; 0: none. One costs half a step where a step is a single
    micro-step on one thread, nearly a whole one where that is compiled, else next to nothing."""
    seed: Annotated[int, Meta(ge=0, le=10**9)] = 1337
    """Origin of the first weights, of the order of the data and of dropout."""
    device: str = "auto"
    """`auto`, `cpu`, `mps`, `cuda` or `cuda:N`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the hardware has it, else float16 on CUDA, else float32."""
    compile: bool | Literal["auto"] = "auto"
    """`auto`: on where the run is long enough to repay it, on CUDA and, for small models, on a CPU; off on MPS."""
    cuda_graphs: bool = False
    """Launches each pass of the compiled step as one recording, on one CUDA device: for small models, whose kernels end
    before the host has launched the next ones. Takes more memory; not measured yet."""
    threads: PositiveInt | None = None
    """CPU threads of one rank; None: one per core this process may use, shared among the ranks of this machine."""
    parallel: Literal["ddp", "fsdp", "hsdp"] = "ddp"
    """How the ranks of a run share the work: `ddp` keeps the whole model on each, `fsdp` a share of everything, `hsdp`
    a share of everything within each group of shard_ranks ranks. One process alone does not look at it."""
    shard_ranks: PositiveInt | None = None
    """Ranks of a group that holds the whole model together, for `hsdp`; None: those of one machine."""
    stalled_after: Annotated[float, Meta(ge=0, extra={"unit": "s"})] = 60.0
    """Seconds without a sign of life after which a run counts as stuck, and says where; longer where steps take long,
    and outside of steps (gpt.watchdog). 0: never."""


class OptimConfig(Section, frozen=True, kw_only=True):
    """[optim]: the optimizer and its schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon`: Muon on the matrices inside the blocks, AdamW on all else, at the same rate and decay."""
    learning_rate: PositiveFloat = 6e-4
    """Highest rate, reached after the warm-up."""
    min_lr: NaturalFloat | None = None
    """Rate after the decay; None: a tenth of learning_rate."""
    warmup_steps: StepsOrNone = 0
    """Steps in which the rate rises to learning_rate."""
    decay_steps: Steps | None = None
    """Step at which min_lr is reached; None: max_steps."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """`wsd`: warm-up, stable, decay; the decay is linear, and the run can be extended until it begins."""
    cooldown_steps: Steps | None = None
    """Steps of the decay of `wsd`, the last ones before decay_steps; None: a fifth of decay_steps."""
    weight_decay: NaturalFloat = 0.1
    """On matrices only: never on biases and layer norms."""
    beta1: Fraction = 0.9
    """Decay of the mean of gradients, AdamW's."""
    beta2: Fraction = 0.95
    """Decay of the mean of their squares, AdamW's."""
    grad_clip: NaturalFloat = 1.0
    """Largest global gradient norm; 0: no clipping."""


class CheckpointConfig(Section, frozen=True, kw_only=True):
    """[checkpoint]: when and how many."""

    interval: StepsOrNone = 1000
    """Steps between checkpoints; 0: only when asked, at a stop and at the end."""
    keep: PositiveInt = 2
    """Newest checkpoints kept; the best is kept besides."""
    best: bool = True
    """Also save when an evaluation finds the lowest val_loss so far."""


class GuardConfig(Section, frozen=True, kw_only=True):
    """[guard]: what becomes of a step whose loss or gradient is not finite, or far above those before it."""

    policy: Literal["off", "warn", "skip", "rewind", "pause"] = "warn"
    """`warn`: an update that is not finite is left out; a spike is only spoken of. `skip`: a spike's update is left out
    too. `rewind`, `pause`: likewise, and after patience go back to the last good checkpoint with a lower rate, or pause
    and ask. `warn` and `skip` then pause too. Where nobody watches, a run that would ask saves and ends instead."""
    window: Annotated[int, Meta(ge=10, le=10_000, extra={"unit": "steps"})] = 100
    """Steps that a step is compared with; spikes are looked for once half of them have been taken."""
    threshold: Annotated[float, Meta(ge=3)] = 8.0
    """Robust deviations above the window's median from which on a step is a spike."""
    patience: Steps = 5
    """Steps in a row whose update was left out, before more is done about it."""
    rate_factor: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """What a rewind multiplies the learning rate by."""
    max_rewinds: NaturalInt = 3
    """Rewinds in a run; after that it pauses."""


class SampleConfig(Section, frozen=True, kw_only=True):
    """[sample]: what the model is asked to continue."""

    prompts: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["\n"])
    """Texts to continue; each in turn where samples are drawn by themselves."""
    interval: StepsOrNone = 0
    """Steps between samples drawn by themselves; 0: only when asked."""
    at_evaluation: bool = False
    """Each prompt is continued before each evaluation too, with the same seeds every time, so that texts compare."""
    alternatives: Annotated[int, Meta(ge=0, le=10)] = 0
    """Likeliest tokens told beside each token of a sample, with their probabilities and the mean loss of the prompt;
    0: nothing of that is measured. Costs one pass over prompt and text, once it is drawn."""
    temperature: NaturalFloat = 0.8
    """0: always the likeliest token."""
    top_k: TokensOrNone = 200
    """Choose among the k likeliest tokens; 0: among all."""
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Of them, choose among the fewest likeliest whose probabilities make up this share; 1: among all."""
    repetition_penalty: Annotated[float, Meta(ge=1)] = 1.0
    """Makes tokens that the text holds already less likely by this factor on their logits; 1: no penalty."""
    stop: str = ""
    """A sample ends before this text; empty: it ends at max_new_tokens."""
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    """Samples of each prompt, drawn side by side."""
    max_new_tokens: Tokens = 200
    """Length of a sample, where nothing ends it sooner."""
    seed: Annotated[int, Meta(ge=0, le=10**9)] = 1
    """Origin of the draws, so that the same weights give the same sample again."""


ReferenceName = Literal[
    "gpt2-124m", "gpt2-350m", "gpt2-774m", "gpt2-1558m", "nanogpt-124m", "llmc-124m", "shakespeare-char",
    "shakespeare-char-cpu",
]  # fmt: skip
"""Names of published losses; the figures are the screen's (cockpit.references)."""


class ScreenConfig(Section, frozen=True, kw_only=True):
    """[screen]: what the screen looks like, and how much it may cost."""

    cpu_budget: Annotated[float, Meta(gt=0, le=1)] = 0.01
    """Share of wall time that drawing may take on one core."""
    theme: Literal["dark", "light", "ansi", "colorblind"] | None = None
    """Colours: for a dark or a light ground, the terminal's own sixteen (`ansi`), or such as are told apart without red
    and green; unset: as chosen on the screen last, else `dark`."""
    references: list[ReferenceName] = []
    """Published validation losses to draw as levels; key `o` says where each is from."""


class TrackConfig(Section, frozen=True, kw_only=True):
    """[track]: other programs that the run is mirrored to while it goes on; they need the extra `track`."""

    tensorboard: bool = False
    """Writes event files for TensorBoard into the run's folder `tensorboard`."""
    wandb: Annotated[str, Meta(min_length=1)] | None = None
    """Project of Weights & Biases that gets the run; with WANDB_MODE=offline in the environment it stays on disk."""


class DoctorConfig(Section, frozen=True, kw_only=True):
    """[doctor]: what it shall not say."""

    silence: list[Annotated[str, Meta(pattern=r"^[a-z_]+: ?\S")]] = []
    """Rules that do not apply here, each with the reason: `"model_size: shrunk for a test"`."""


class DeviceConfig(Section, frozen=True, kw_only=True):
    """[device]: facts about the device that cannot be looked up."""

    peak_tflops: Annotated[float, Meta(gt=0, extra={"unit": "TFLOP/s"})] | None = None
    """Dense peak in the dtype in use, TFLOP/s; overrides the datasheet table."""
    price_per_hour: PositiveFloat | None = None
    """What an hour of it costs, in any currency; a plan says what the run will."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole profile."""

    name: str = "profile"
    """Shown on screen and used in run names; the file's stem when the file does not say."""
    description: str = ""
    """One line: what this trains, and how to get its data."""
    expected_parameters: str | None = None
    """The size the author believes this is, e.g. `124M`."""
    model: ModelConfig = msgspec.field(default_factory=ModelConfig)
    data: DataConfig = msgspec.field(default_factory=DataConfig)
    train: TrainConfig = msgspec.field(default_factory=TrainConfig)
    optim: OptimConfig = msgspec.field(default_factory=OptimConfig)
    checkpoint: CheckpointConfig = msgspec.field(default_factory=CheckpointConfig)
    guard: GuardConfig = msgspec.field(default_factory=GuardConfig)
    sample: SampleConfig = msgspec.field(default_factory=SampleConfig)
    screen: ScreenConfig = msgspec.field(default_factory=ScreenConfig)
    track: TrackConfig = msgspec.field(default_factory=TrackConfig)
    doctor: DoctorConfig = msgspec.field(default_factory=DoctorConfig)
    device: DeviceConfig = msgspec.field(default_factory=DeviceConfig)

    @property
    def micro_batch_size(self) -> int:
        """Sequences in a micro-step. Raises ProfileError while it is `auto`: gpt.fit settles that, on the device."""
        if self.train.micro_batch_size == "auto":
            raise ProfileError('train.micro_batch_size is "auto", which only a run can settle; give a number here')
        return self.train.micro_batch_size

    @property
    def grad_accum_steps(self) -> int:
        """Micro-steps in a step."""
        if self.train.tokens_per_step is not None:
            return self.train.tokens_per_step // self.tokens_per_micro_step
        return self.train.grad_accum_steps or 1

    @property
    def tokens_per_micro_step(self) -> int:
        """Tokens predicted in a micro-step; one rank takes it."""
        return self.micro_batch_size * self.model.block_size

    @property
    def sequences_per_step(self) -> int:
        """Windows of block_size tokens in an optimizer step."""
        return self.tokens_per_step // self.model.block_size

    @property
    def tokens_per_step(self) -> int:
        """Tokens predicted in an optimizer step, over all ranks."""
        if self.train.tokens_per_step is not None:
            return self.train.tokens_per_step
        return self.grad_accum_steps * self.tokens_per_micro_step


def flatten(profile: Profile) -> dict[str, Any]:
    """Every setting by its dotted key."""
    flat: dict[str, Any] = {}
    for key, value in msgspec.to_builtins(profile).items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    return flat


def as_toml(value: Any) -> str:
    """A setting as TOML writes it; None has no TOML form and reads `unset`."""
    if value is None:
        return "unset"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)  # JSON has other infs


def replace(profile: Profile, changes: dict[str, Any]) -> Profile:
    """The profile with some dotted keys set to other values, decoded and checked as strictly as a file.

    Raises ProfileError for an unknown key, a wrong type or a value out of range.
    """
    known = flatten(profile)
    tree = msgspec.to_builtins(profile)
    for key, value in changes.items():
        if key not in known:
            raise ProfileError(unknown(key, Profile))
        section, _, name = key.rpartition(".")
        (tree[section] if section else tree)[name] = value
    return decode(tree)


def decode(tree: dict[str, Any]) -> Profile:
    """Typed profile of plain values. Raises ProfileError, one line, with the key's path."""
    if mistake := find_mistake(tree, Profile):
        raise ProfileError(mistake.text)
    profile = msgspec.convert(tree, Profile)
    check(profile)
    return profile
