"""The sections of config.toml as frozen typed structs, with their defaults and the values that they take."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engine.config.addresses import Address, check_servers, hosts_elsewhere, parts, without_secrets
from engine.config.defaults import toml

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Rate = Annotated[float, msgspec.Meta(gt=0.0)]
Weight = Annotated[float, msgspec.Meta(ge=0.0)]
Part = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
OWN_MODEL_ARGS = frozenset({"pretrained", "model", "peft", "lora_local_path", "tokenizer", "trust_remote_code"})
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # numpy's range
EnvName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        description="the NAME of an environment variable (letters, digits and _), never the key itself",
    ),
]
Device = Annotated[
    str, msgspec.Meta(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description='"auto", "cpu", "cuda" or "cuda:N"')
]


class ConfigSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of config.toml."""


class Project(ConfigSection, frozen=True):
    """Name and seed of the project."""

    name: str = ""
    seed: Seed = 0


class Data(ConfigSection, frozen=True):
    """How dataset files are read, and what is held out of training."""

    format: Literal["auto", "alpaca", "sharegpt", "messages", "prompt", "preference"] = "auto"
    encoding: str = "auto"
    columns: dict[str, str] = {}
    heldout: str = ""
    allow_overlap: bool = False
    heldout_share: Share = 0.02
    heldout_max: NotNegative = 500
    injection: Literal["hold", "send"] = "hold"


class Model(ConfigSection, frozen=True):
    """The model that is fine-tuned and that the dataset is improved for."""

    name: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Device = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    chat_template: str = ""
    max_length: Positive = 4096
    threads: NotNegative = 0


class Train(ConfigSection, frozen=True):
    """Supervised fine-tuning of one round."""

    init: Literal["base", "previous"] = "base"
    method: Literal["lora", "qlora", "full"] = "lora"
    epochs: Rate = 1.0
    learning_rate: Rate = 2e-4
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: Share = 0.03
    batch_size: Positive = 4
    gradient_accumulation: Positive = 8
    packing: bool = False
    balance: bool = True
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    weight_decay: Weight = 0.0
    max_grad_norm: Weight = 1.0
    lora_r: Positive = 16
    lora_alpha: Positive = 32
    lora_dropout: Share = 0.0
    lora_targets: tuple[str, ...] | str = "all-linear"
    liger: Literal["auto", "off"] = "auto"
    checkpoint_steps: Positive = 200
    keep_checkpoints: NotNegative = 0
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    log_steps: Positive = 1


class Score(ConfigSection, frozen=True):
    """The pass that computes losses and embeddings, and the clustering of the embeddings."""

    token_budget: Positive = 16384
    embed: Literal["prompt", "in_template", "bare_prompt"] = "prompt"
    clusters: bool = True
    min_cluster_size: NotNegative = 0
    neighbour_search: Literal["auto", "exact"] = "auto"


class Judge(ConfigSection, frozen=True):
    """The judge: which model rates, and how the rating is read.

    ``more_urls``: other servers with the same model. ``adapter_root``: the project's folder as servers see it.
    """

    backend: Literal["hf", "vllm", "server"] = "hf"
    model: Literal["tuned", "base", "teacher", "endpoint"] = "tuned"
    url: str = ""
    more_urls: tuple[Address, ...] = ()
    adapter_root: Annotated[str, msgspec.Meta(pattern=r"^(/.*)?$", description="an absolute path, or nothing")] = ""
    endpoint_model: str = ""
    key_env: EnvName = ""
    mode: Literal["expected", "sampled"] = "expected"
    prime: Literal["auto", "on", "off"] = "auto"
    token_budget: Positive = 32768
    min_digit_mass: Share = 0.05
    temperature: Weight = 0.1
    top_p: Share = 0.7
    top_k: NotNegative = 50
    max_new_tokens: Positive = 1024
    attempts: Positive = 2
    constrain: bool = False

    def __post_init__(self) -> None:
        """Check that constrained decoding is possible: only vLLM supports it."""
        if self.constrain and (self.backend, self.mode) != ("vllm", "sampled"):
            raise ValueError('constrain = true needs backend = "vllm" and mode = "sampled"')
        if self.model == "endpoint" and not (self.url and self.endpoint_model):
            raise ValueError('model = "endpoint" needs url and endpoint_model')
        if self.backend == "server" and (self.model != "tuned" or not self.url):
            raise ValueError(
                'backend = "server" has vLLM servers rate with the tuned model: it needs model = "tuned" and url'
            )
        check_servers(self.url, self.more_urls)

    @property
    def sent_to(self) -> str:
        """The hosts that texts of samples are sent to; empty: none leaves this machine."""
        return hosts_elsewhere(self.url, *self.more_urls) if self.remote else ""

    @property
    def remote(self) -> bool:
        """Whether servers rate, with a model of their own or with the tuned one."""
        return self.backend == "server" or self.model == "endpoint"

    @property
    def servers(self) -> int:
        """How many servers share the requests; 1 where none rates."""
        return 1 + len(self.more_urls) if self.remote else 1

    @property
    def streams(self) -> bool:
        """Whether requests are handed over one by one, to vLLM or to servers."""
        return self.backend == "vllm" or self.remote


class Evaluate(ConfigSection, frozen=True):
    """How every round's model is evaluated."""

    exact_match: bool = False
    max_new_tokens: Positive = 256
    batch_size: Positive = 64
    tasks: tuple[str, ...] = ()
    include_path: str = ""
    backend: Literal["hf", "vllm"] = "hf"
    limit: NotNegative = 0
    num_fewshot: dict[str, NotNegative] = {}
    metrics: dict[str, str] = {}
    apply_chat_template: bool = True
    fewshot_as_multiturn: bool = True
    task_batch_size: NotNegative = 16
    model_args: dict[str, str | bool | int | float] = {}
    allow_code_execution: bool = False
    allow_unconfined_code: bool = False

    def __post_init__(self) -> None:
        """Check that model_args sets nothing that middo-tui sets, and that tables only name listed tasks."""
        for key in self.model_args.keys() & OWN_MODEL_ARGS:
            raise ValueError(f"model_args.{key} is set by middo-tui and cannot be set here")
        for key in (self.num_fewshot.keys() | self.metrics.keys()) - set(self.tasks):
            raise ValueError(f"num_fewshot and metrics are per task, and {key!r} is not in tasks")


class Select(ConfigSection, frozen=True):
    """Which samples are selected: thresholds at mean ± m·sigma, one m per axis, or at the split of a bimodal signal."""

    threshold: Literal["evidence", "sigma", "mixture"] = "evidence"
    m_complexity: float = 1.0
    m_diversity: float = 1.0
    m_quality: float = 1.0
    neighbours: Positive = 2
    floor: Literal["round0", "none"] = "round0"
    parity: Literal["ours", "reference"] = "ours"
    remember: bool = True
    max_share: Share = 0.5
    new_samples: Share = 0.06
    quality: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        """Check that reference parity uses the sigma rule."""
        if self.parity == "reference" and self.threshold == "mixture":
            raise ValueError('parity = "reference" needs threshold = "sigma"')

    @property
    def rule(self) -> Literal["evidence", "sigma", "mixture"]:
        """The rule that holds: the reference has one of its own."""
        return "sigma" if self.parity == "reference" else self.threshold


class Prices(ConfigSection, frozen=True):
    """A model's price in dollars per million tokens."""

    input: Weight = 0.0
    output: Weight = 0.0

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """What so many tokens cost, in dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


FREE = Prices()


class Teacher(ConfigSection, frozen=True):
    """The teacher model: backend, sampling, limits and prices."""

    backend: Literal["hf", "vllm", "openai"] = "hf"
    model: str = ""
    url: str = ""
    more_urls: tuple[Address, ...] = ()
    key_env: EnvName = ""
    concurrency: Positive = 64
    requests_per_minute: NotNegative = 0
    tokens_per_minute: NotNegative = 0
    timeout_s: Rate = 120.0
    retries: NotNegative = 5
    batch: bool = False
    batch_price: Share = 0.5
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    temperature: Weight = 1.0
    top_p: Share = 1.0
    max_new_tokens: Positive = 2048
    batch_size: Positive = 32
    attempts: Positive = 3
    best_of: Positive = 1
    prime: Literal["auto", "on", "off"] = "auto"
    budget_tokens: NotNegative = 0
    budget_cost: Weight = 0.0
    prices: dict[str, Prices] = {}

    def __post_init__(self) -> None:
        """Check that batches have an endpoint, and that a budget in dollars has prices to count with."""
        if self.batch and self.backend != "openai":
            raise ValueError(f'batch = true needs backend = "openai", not "{self.backend}"')
        if self.batch and self.more_urls:
            raise ValueError("batch = true works with one url; leave more_urls empty")
        check_servers(self.url, self.more_urls)
        if self.budget_cost and self.model not in self.prices:
            raise ValueError(f"budget_cost needs a price: prices = {{{toml(self.model)} = {{input = …, output = …}}}}")

    @property
    def price(self) -> Prices:
        """What the teacher's model costs, the way that it is asked."""
        full = self.prices.get(self.model, FREE)
        share = self.batch_price if self.batch else 1.0
        return Prices(input=full.input * share, output=full.output * share)

    @property
    def primes(self) -> bool:
        """Whether the reply to a request for a new prompt is begun for the teacher."""
        return self.prime != "off" and (self.backend != "openai" or (self.prime == "on" and not self.batch))

    @property
    def sent_to(self) -> str:
        """The hosts that texts of selected samples are sent to; empty: none leaves this machine."""
        return hosts_elsewhere(self.url, *self.more_urls) if self.backend == "openai" else ""


class VLLM(ConfigSection, frozen=True):
    """How vLLM runs where it judges or rewrites."""

    tensor_parallel: Positive = 1
    data_parallel: Positive = 1
    gpu_memory_utilization: Part = 0.9
    kv_cache_gib: Weight = 0.0
    max_model_len: NotNegative = 0
    max_num_seqs: NotNegative = 0
    block_size: NotNegative = 0
    enforce_eager: bool = False
    prefix_caching: bool = True
    quantization: str = ""
    in_flight: Positive = 768


class Verify(ConfigSection, frozen=True):
    """The checks that every rewrite must pass before it may be merged."""

    max_similarity: Share = 0.0
    min_response_chars: NotNegative = 1
    ngram: NotNegative = 13
    loss_margin: float = 0.0
    quality_margin: float = 0.0
    on_topic: Share = 0.9
    command: tuple[str, ...] = ()
    command_timeout_s: Rate = 60.0
    command_jobs: Positive = 1
    url: str = ""
    url_timeout_s: Rate = 60.0
    url_jobs: Positive = 4

    def __post_init__(self) -> None:
        """A program has a name; an address is a URL without a password."""
        if self.command and not self.command[0].strip():
            raise ValueError('command names no program: write it as ["python3", "check.py"], or [] for none')
        found = parts("url", self.url, "http://localhost:8080/check")
        without_secrets("url", found, "leave it out")

    @property
    def sent_to(self) -> str:
        """The host that rewrites are sent to; empty: none leaves this machine."""
        return hosts_elsewhere(self.url)


class Review(ConfigSection, frozen=True):
    """Who decides: a person, the checks alone, or the checks and the signals."""

    policy: Literal["manual", "auto", "improved"] = "manual"


class Merge(ConfigSection, frozen=True):
    """What the next round's dataset looks like."""

    size: Literal["fixed", "grow"] = "fixed"
    flawed: Literal["rewrite", "drop"] = "rewrite"
    order: tuple[Literal["quality", "complexity"], ...] = ("quality", "complexity")


class Loop(ConfigSection, frozen=True):
    """How many rounds, and when the loop says it is done."""

    rounds: Positive = 3
    final_train: bool = True
    min_acceptance: Share = 0.05
    min_gain: float = -1.0


class Notify(ConfigSection, frozen=True):
    """Who is told that the run needs a person, failed, is done or is held up."""

    on: tuple[Literal["waiting", "failed", "done", "stalled"], ...] = ("waiting", "failed", "done", "stalled")
    command: tuple[str, ...] = ()
    webhook: str = ""
    webhook_env: EnvName = ""
    token_env: EnvName = ""
    timeout_s: Rate = 10.0

    @property
    def ways(self) -> tuple[str, ...]:
        """By what somebody is told; empty: nobody is."""
        return ("command",) * bool(self.command) + ("webhook",) * bool(self.webhook or self.webhook_env)

    def __post_init__(self) -> None:
        """Check that the program has a name and that there is one address, which is a URL."""
        if self.command and not self.command[0].strip():
            raise ValueError('command names no program: write it as ["notify-send", "middo"], or [] for none')
        if self.webhook and self.webhook_env:
            raise ValueError("webhook and webhook_env both give the URL: keep one of them")
        found = parts("webhook", self.webhook, "https://ntfy.example.org/middo")
        without_secrets("webhook", found, "put the URL into an environment variable, and its name into webhook_env")
