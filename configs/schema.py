"""Every option of an experiment: its type, unit, default, range and meaning.

An experiment is a YAML file with any of these keys; what it leaves out has the default given here, and
`key=value` on the command line comes last. `configs.load` reads, checks and prints them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union

from omegaconf import MISSING


def option(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    may_change: bool = False,
    added: bool = False,
) -> Any:
    """A dataclass field that knows its meaning and range; `may_change` marks what a started run may alter.

    `added` marks what older checkpoints do not describe: its default is what they were made with, and stays.
    """
    about = {
        "meaning": meaning,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "may_change": may_change,
        "added": added,
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def section(kind: type, meaning: str, *, may_change: bool = False) -> Any:
    return field(default_factory=kind, metadata={"meaning": meaning, "may_change": may_change})


@dataclass
class Model:
    """improved-diffusion's U-Net, with what guided-diffusion added to it."""

    image_size: int = option(32, "side of the square images", unit="pixels", at_least=4)
    in_channels: int = option(3, "colour channels", at_least=1)
    model_channels: int = option(128, "channels of the first level", at_least=1)
    channel_mult: list[Union[int, float]] = option(
        [1, 2, 2, 2], "channels of each level, in multiples of model_channels", at_least=0.125
    )
    num_res_blocks: int = option(3, "residual blocks a level", at_least=1)
    attention_resolutions: list[int] = option(
        [16, 8], "sides of the feature maps with attention", unit="pixels", at_least=1
    )
    num_heads: int = option(4, "attention heads", at_least=1)
    num_heads_upsample: Optional[int] = option(None, "attention heads on the way up; null: as num_heads", at_least=1)
    num_head_channels: Optional[int] = option(
        None, "channels of an attention head, instead of num_heads; null: num_heads counts", at_least=1, added=True
    )
    use_new_attention_order: bool = option(False, "q, k and v lie apart, rather than within each head", added=True)
    use_scale_shift_norm: bool = option(True, "the time embedding scales and shifts, rather than only adds")
    conv_resample: bool = option(True, "the side is changed with convolutions, rather than by means", added=True)
    resblock_updown: bool = option(False, "residual blocks change the side, instead of conv_resample", added=True)
    norm_groups: int = option(32, "groups of the group normalisation; 32 in every published model", at_least=1)
    dropout: float = option(0.0, "share of activations dropped in each residual block", at_least=0, at_most=0.99)
    num_classes: Optional[int] = option(None, "classes of a class-conditional model; null: unconditional", at_least=1)
    use_fp16: bool = option(
        False, "convolutions keep their weights in half precision, as guided-diffusion samples; not trained", added=True
    )

    @property
    def level_channels(self) -> list[int]:
        """Channels of each level."""
        return [round(multiple * self.model_channels) for multiple in self.channel_mult]


@dataclass
class Diffusion:
    """The forward process and what the network says of the reverse one."""

    schedule: Literal["cosine", "linear"] = option("cosine", "how fast noise is added")
    steps: int = option(4000, "steps of the forward process", at_least=10)
    variance: Literal["learned_range", "fixed_large", "fixed_small"] = option(
        "learned_range", "variance of the reverse steps: learned between its two bounds, or fixed at one of them"
    )
    rescale_timesteps: bool = option(True, "the network sees t scaled to 0…1000 whatever the number of steps")


@dataclass
class OpenAI:
    """A state dict of improved-diffusion or guided-diffusion: what its tensors cannot tell.

    null: as the preset says; without one, as `models.openai.DEFAULTS` says.
    """

    preset: Optional[str] = option(
        None, "published file whose flags hold, e.g. cifar10_uncond_50M_500K, or none; null: the one of the file's name"
    )
    image_size: Optional[int] = option(None, "side of the images", unit="pixels", at_least=4)
    num_heads: Optional[int] = option(None, "attention heads", at_least=1)
    num_head_channels: Optional[int] = option(None, "channels of an attention head, instead of num_heads", at_least=1)
    use_new_attention_order: Optional[bool] = option(None, "q, k and v lie apart, rather than within each head")
    use_fp16: Optional[bool] = option(None, "convolutions in half precision")
    schedule: Optional[Literal["cosine", "linear"]] = option(None, "how fast noise is added")
    steps: Optional[int] = option(None, "steps of the forward process", at_least=10)
    variance: Optional[Literal["learned_range", "fixed_large", "fixed_small"]] = option(
        None, "variance of the reverse steps; the tensors tell whether it is learned"
    )
    rescale_timesteps: Optional[bool] = option(None, "the network sees t scaled to 0…1000 whatever the number of steps")


@dataclass
class Data:
    """Training images."""

    name: Literal["digits", "cifar10", "imagenet64", "folder"] = option(
        "cifar10", "data set: one of the known ones, or any folder of images"
    )
    source: Optional[str] = option(
        None,
        "where the data set is read from: its archive, its unpacked folder, or the folder of images; "
        "null: downloaded where it can be",
        may_change=True,
    )
    root: str = option("data", "folder in which prepared data sets are kept", may_change=True)
    horizontal_flip: bool = option(False, "each image is mirrored half of the times it is seen")
    skip_damaged: bool = option(False, "leave images out that cannot be read, rather than stop at them")
    workers: int = option(0, "processes that prepare a folder of images; 0: one a core", at_least=0, may_change=True)


@dataclass
class Stride:
    """A stretch of training in which checkpoints are equally spaced."""

    every: int = option(MISSING, "distance between checkpoints", unit="steps", at_least=1)
    until: Optional[int] = option(None, "last step of the stretch; null: to the end", unit="steps", at_least=1)


@dataclass
class Checkpoints:
    """Which steps are kept: a function of the absolute step alone. The last step is always kept."""

    at: list[int] = option([0, 5, 10, 25], "single steps", unit="steps", at_least=0)
    strides: list[Stride] = option(
        [Stride(50, 400), Stride(390, 39_000), Stride(2_500)],
        "stretches one after the other: the multiples of each `every` up to its `until`",
    )


@dataclass
class Train:
    """Optimisation. Defaults are those of improved-diffusion's CIFAR-10 run."""

    steps: int = option(700_000, "length of the training", unit="optimiser steps", at_least=1, may_change=True)
    batch_size: int = option(128, "images a step over all processes together", at_least=1)
    gradient_accumulation_steps: int = option(
        1, "parts that each process takes its share of a batch in, to save memory", at_least=1
    )
    loss: Literal["hybrid", "simple", "vlb"] = option("hybrid", "L_hybrid, L_simple or L_vlb")
    timestep_sampler: Literal["uniform", "loss_second_moment"] = option(
        "uniform", "how t is drawn: evenly, or by the importance of its losses, as L_vlb wants it"
    )
    lr: float = option(1e-4, "learning rate of AdamW", at_least=0)
    weight_decay: float = option(0.0, "weight decay of AdamW", at_least=0)
    warmup_steps: int = option(0, "steps over which the learning rate grows linearly from 0", unit="steps", at_least=0)
    max_grad_norm: Optional[float] = option(None, "largest norm of the gradient; null: unlimited", at_least=0)
    ema_rates: list[float] = option(
        [0.9999], "rates of the moving averages of the weights", at_least=0, at_most=0.999999
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = option(
        "fp32", "arithmetic of the network; the weights themselves stay in float32"
    )
    compile: bool = option(
        False, "compile the network, which takes minutes at every start; needs a C++ compiler", may_change=True
    )
    init_from: Optional[str] = option(
        None, "weights to start from: a checkpoint folder, or a .pt or .safetensors state dict; null: at random"
    )
    checkpoints: Checkpoints = section(Checkpoints, "which steps are kept for analysis")
    state_every_minutes: float = option(
        10.0, "how often what resuming needs is saved", unit="minutes", at_least=0, may_change=True
    )
    log_every: int = option(50, "distance between logged steps", unit="steps", at_least=1)
    sample_every: int = option(
        0, "distance between grids of samples from the fixed noise; 0: none", unit="steps", at_least=0, may_change=True
    )


@dataclass
class Measures:
    """Options of single measures. Changing one recomputes that measure, not the images."""

    knn_k: int = option(50, "neighbours that kNN coverage compares", at_least=1)
    mapping_images: int = option(1000, "images that noise and image are matched among, a chunk", at_least=2)
    correlation_images: int = option(1000, "images that pixels are correlated over, at most", at_least=3)
    dino_model: Optional[str] = option(
        "facebook/dino-vits16", "DINO: its name on the Hugging Face hub, or a folder; null: not measured"
    )
    fid_network: Optional[str] = option(
        None, "FID: a TorchScript file of your Inception network, uint8 images → features; null: not measured"
    )


@dataclass
class Analyze:
    """What is generated from each checkpoint, and how."""

    samples: int = option(2048, "images generated from each checkpoint", at_least=4)
    ddim_steps: int = option(100, "DDIM steps from noise to image", at_least=2)
    inversion_steps: Optional[int] = option(
        None, "DDIM steps from image to latent; null: same as ddim_steps", at_least=2
    )
    clip_denoised: Optional[bool] = option(
        None, "clip the predicted x_0 to [−1, 1] in every step; null: as the model's own sampler does"
    )
    labels: list[int] = option([], "classes of a class-conditional model's images, in turn; empty: all", at_least=0)
    weights: str = option(
        "ema_0.9999", 'which weights: "ema_<rate>" with a rate of train.ema_rates, or "model" for the raw ones'
    )
    noise_seed: int = option(0, "seed of the fixed noise x_T", at_least=0)
    batch_size: Optional[int] = option(
        None,
        "images generated at once; null: as many as fit; numbers do not depend on it beyond rounding",
        at_least=1,
    )
    precision: Literal["fp32", "tf32", "bf16"] = option(
        "bf16", "arithmetic of the network while it generates; bf16 moves distances and angles by less than 0.5 %"
    )
    compile: bool = option(
        False, "compile the network once a job: minutes that pay where much is generated; needs a C++ compiler"
    )
    pictures: int = option(10, "images shown of each checkpoint", at_least=1, may_change=True)
    published: Optional[Literal["ddpm_cifar10", "ddpm_imagenet64", "ldm_celeba"]] = option(
        None, "model of the paper whose numbers stand beside ours; null: none", may_change=True
    )
    measures: Measures = section(Measures, "options of single measures")


@dataclass
class Wandb:
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = option("auto", "auto: online when logged in, else offline")
    project: str = option("noisemap", "project")
    entity: Optional[str] = option(None, "user or team; null: the default one of the login")


@dataclass
class Cluster:
    """Where jobs run and what they ask for; configs/cluster/ has profiles. What follows `nodes` is for SLURM alone."""

    kind: Literal["local", "debug", "slurm"] = option(
        "local", "local: processes of this machine; debug: inside the launching process; slurm: jobs of SLURM"
    )
    max_parallel: int = option(
        2, "jobs that run at the same time; on SLURM: of each seed's array of analyses", at_least=1
    )
    slice_minutes: float = option(60.0, "about how long an analysis job takes", unit="minutes", at_least=0.01)
    checkpoint_minutes: Optional[float] = option(
        None,
        "how long the analysis of a checkpoint takes; null: as the last job measured it, or else estimated",
        unit="minutes",
        at_least=0.001,
    )
    checkpoints_per_job: Optional[int] = option(
        None, "checkpoints that an analysis job takes; null: as slice_minutes and max_parallel say", at_least=1
    )
    timeout_hours: float = option(24.0, "longest time a job may take", unit="hours", at_least=0.01)
    train_timeout_hours: Optional[float] = option(
        None,
        "the same of a training, which goes on in as many of them as it needs; null: as the others",
        unit="hours",
        at_least=0.01,
    )
    nodes: int = option(1, "nodes that each training takes", at_least=1)
    gpus_per_node: int = option(
        0, "GPUs of each of them, one a process; analysis jobs take one GPU or none", at_least=0
    )
    gpu_type: Optional[str] = option(None, "which GPUs, e.g. a100; null: any")
    processes_per_node: Optional[int] = option(
        None, "training processes a node; null: one a GPU, or one without GPUs", at_least=1
    )
    cpus_per_task: int = option(4, "CPU cores of each process", at_least=1)
    memory_gb: Optional[float] = option(None, "memory of each process; null: the cluster's", unit="GB", at_least=0.1)
    partition: Optional[str] = option(None, "partition; null: the cluster's")
    account: Optional[str] = option(None, "account that is charged")
    qos: Optional[str] = option(None, "quality of service")
    gres: Optional[str] = option(None, "generic resources beside the GPUs, e.g. nvme:1")
    constraint: Optional[str] = option(None, "features that nodes must have")
    exclude: Optional[str] = option(None, "nodes that are not wanted")
    mail_user: Optional[str] = option(None, "whom SLURM writes to")
    mail_type: Optional[str] = option(None, "about what, e.g. END,FAIL")
    setup: list[str] = option([], "shell lines before the job, e.g. module load cuda")
    srun_args: list[str] = option([], "arguments of srun, e.g. --container-image=…")
    additional_parameters: dict[str, Any] = option({}, "any other options of sbatch, as name: value")
    signal_seconds: int = option(
        120, "how long before its time limit a job is told to save and stop", unit="seconds", at_least=1
    )
    fruitless_restarts: int = option(
        3, "restarts in a row without anything done between them, after which a job is given up", at_least=0
    )


@dataclass
class Experiment:
    """A study: a model trained with several seeds, every checkpoint of it analysed."""

    name: str = option(MISSING, "name of its folder below `runs`; default: the name of the YAML file")
    runs: str = option("runs", "folder in which experiments are kept", may_change=True)
    seeds: list[int] = option([0, 10, 42], "seeds that are trained and averaged over", at_least=0, may_change=True)
    seed: int = option(0, "the seed that `python -m train` trains", at_least=0)
    model: Model = section(Model, "network")
    diffusion: Diffusion = section(Diffusion, "forward and reverse process")
    data: Data = section(Data, "images")
    train: Train = section(Train, "training")
    analyze: Analyze = section(Analyze, "analysis", may_change=True)
    wandb: Wandb = section(Wandb, "Weights & Biases", may_change=True)
    cluster: Cluster = section(Cluster, "jobs", may_change=True)


@dataclass
class ModelStudy:
    """A model that others trained, analysed with several numbers T of DDIM steps."""

    source: str = option(
        MISSING,
        "the model: a checkpoint folder, an OpenAI .pt or .safetensors file, a folder of diffusers, or the name under "
        "which one of these is published",
    )
    name: str = option(MISSING, "name of its folder below `runs`; default: that of the YAML file, or of the model")
    runs: str = option("runs", "folder in which studies are kept")
    downloads: str = option("data/models", "folder in which OpenAI's files are kept when they are downloaded")
    sweep: list[int] = option(
        [],
        "numbers T of DDIM steps, each way; empty: of the paper's 10, 50, 100, 500, 1000 and 4000 those that the model "
        "has; analyze.ddim_steps, which figures and pictures are of, is always one of them, and if not given the "
        "largest",
        at_least=2,
    )
    vae_scaling_factor: Optional[float] = option(
        None, "what codes are divided by before they are decoded; null: 1 for a VQModel, an AutoencoderKL's own factor"
    )
    openai: OpenAI = section(OpenAI, "what an OpenAI file does not tell")
    analyze: Analyze = section(Analyze, "analysis")
    wandb: Wandb = section(Wandb, "Weights & Biases")
