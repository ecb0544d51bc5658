"""Options of an experiment: type, unit, default, range and meaning of each.

An experiment is a YAML file that sets any of these options. Missing options have the defaults below, and `key=value`
on the command line overrides both. `configs.load` reads, checks and prints the options.
"""

from dataclasses import dataclass
from typing import Any, Literal, Optional, Union

from omegaconf import MISSING

from configs.options import option, section


@dataclass
class Model:
    """U-Net of improved-diffusion with the options that guided-diffusion added."""

    image_size: int = option(32, "side length of the square images", unit="pixels", at_least=4, at_most=16_384)
    in_channels: int = option(3, "color channels", at_least=1, at_most=4096)
    model_channels: int = option(128, "channels of the first resolution level", at_least=1, at_most=65_536)
    channel_mult: list[Union[int, float]] = option(
        [1, 2, 2, 2], "channels of each level, as multiples of model_channels", at_least=0.125, at_most=1024
    )
    num_res_blocks: int = option(3, "residual blocks per level", at_least=1, at_most=100)
    attention_resolutions: list[int] = option(
        [16, 8], "side lengths of the feature maps with attention", unit="pixels", at_least=1
    )
    num_heads: int = option(4, "attention heads", at_least=1)
    num_heads_upsample: Optional[int] = option(None, "attention heads in the decoder; null: num_heads", at_least=1)
    num_head_channels: Optional[int] = option(
        None, "channels per attention head, overrides num_heads; null: use num_heads", at_least=1, added=True
    )
    use_new_attention_order: bool = option(False, "split q, k and v before the heads, not within each head", added=True)
    use_scale_shift_norm: bool = option(True, "scale and shift by the time embedding; false: add it")
    conv_resample: bool = option(True, "resample with convolutions; false: average or repeat pixels", added=True)
    resblock_updown: bool = option(False, "resample in residual blocks, overrides conv_resample", added=True)
    norm_groups: int = option(32, "groups of the group normalization; 32 in all published models", at_least=1)
    dropout: float = option(0.0, "dropout probability in the residual blocks", at_least=0, at_most=0.99)
    num_classes: Optional[int] = option(None, "classes of a class-conditional model; null: unconditional", at_least=1)
    use_fp16: bool = option(
        False, "half-precision convolutions, as in guided-diffusion's sampling; not for training", added=True
    )

    @property
    def level_channels(self) -> list[int]:
        """Channels of each level."""
        return [round(multiple * self.model_channels) for multiple in self.channel_mult]


@dataclass
class Diffusion:
    """Forward process, and parametrization of the reverse process."""

    schedule: Literal["cosine", "linear"] = option("cosine", "noise schedule")
    steps: int = option(4000, "number of diffusion steps", at_least=10, at_most=100_000)
    variance: Literal["learned_range", "fixed_large", "fixed_small"] = option(
        "learned_range", "variance of the reverse process: learned between its two bounds, or fixed at one of them"
    )
    rescale_timesteps: bool = option(True, "scale the timesteps seen by the network to 0…1000")


@dataclass
class OpenAI:
    """Settings of a state dict of improved-diffusion or guided-diffusion that its tensors do not determine.

    null: the value of the preset, or without a preset the value in `models.openai.DEFAULTS`.
    """

    preset: Optional[str] = option(
        None, "published file with the same flags, e.g. cifar10_uncond_50M_500K, or none; null: by file name"
    )
    image_size: Optional[int] = option(None, "side length of the images", unit="pixels", at_least=4, at_most=16_384)
    num_heads: Optional[int] = option(None, "attention heads", at_least=1)
    num_head_channels: Optional[int] = option(None, "channels per attention head, overrides num_heads", at_least=1)
    use_new_attention_order: Optional[bool] = option(None, "split q, k and v before the heads, not within each head")
    use_fp16: Optional[bool] = option(None, "half-precision weights in the convolutions")
    schedule: Optional[Literal["cosine", "linear"]] = option(None, "noise schedule")
    steps: Optional[int] = option(None, "number of diffusion steps", at_least=10, at_most=100_000)
    variance: Optional[Literal["learned_range", "fixed_large", "fixed_small"]] = option(
        None, "variance of the reverse process; the tensors determine whether it is learned"
    )
    rescale_timesteps: Optional[bool] = option(None, "scale the timesteps seen by the network to 0…1000")


@dataclass
class Data:
    """Training images."""

    name: Literal["digits", "cifar10", "imagenet64", "folder"] = option(
        "cifar10", "data set; folder: a folder of images"
    )
    source: Optional[str] = option(
        None,
        "archive, unpacked folder of the data set, or folder of images; null: download the data set if possible",
        may_change=True,
    )
    root: str = option("data", "folder of prepared data sets", may_change=True)
    half: Optional[Literal["first", "second"]] = option(
        None, "train on one of two disjoint halves of every class; null: all images; FID always uses all", added=True
    )
    horizontal_flip: bool = option(False, "mirror each image with probability 0.5")
    skip_damaged: bool = option(False, "skip damaged images; false: name them and stop")
    workers: int = option(0, "processes that prepare a folder of images; 0: one per core", at_least=0, may_change=True)


@dataclass
class Stride:
    """An interval of training with equally spaced checkpoints."""

    every: int = option(MISSING, "steps between checkpoints", unit="steps", at_least=1)
    until: Optional[int] = option(None, "last step of the interval; null: end of training", unit="steps", at_least=1)


@dataclass
class Checkpoints:
    """Checkpoint schedule, a function of the absolute step only. The last step always has a checkpoint."""

    at: list[int] = option([0, 5, 10, 25], "individual steps", unit="steps", at_least=0)
    strides: list[Stride] = option(
        [Stride(50, 400), Stride(390, 39_000), Stride(2_500)],
        "consecutive intervals: each covers the multiples of `every` up to `until`, or to the end if it is null",
    )


@dataclass
class Train:
    """Training; the defaults are those of improved-diffusion's CIFAR-10 run."""

    steps: int = option(700_000, "length of training", unit="optimizer steps", at_least=1, may_change=True)
    batch_size: int = option(128, "images per step, in total over all processes", at_least=1)
    gradient_accumulation_steps: int = option(1, "microbatches per process, for memory", at_least=1, may_change=True)
    loss: Literal["hybrid", "simple", "vlb"] = option("hybrid", "loss: L_hybrid, L_simple or L_vlb")
    timestep_sampler: Literal["uniform", "loss_second_moment"] = option(
        "uniform", "distribution of t: uniform, or proportional to √E[loss²] as Nichol & Dhariwal use for L_vlb"
    )
    lr: float = option(1e-4, "learning rate of AdamW", at_least=0)
    weight_decay: float = option(0.0, "weight decay of AdamW", at_least=0)
    warmup_steps: int = option(0, "steps of linear learning-rate warmup from 0", unit="steps", at_least=0)
    max_grad_norm: Optional[float] = option(None, "clip gradients to this norm; null: no clipping", at_least=0)
    ema_rates: list[float] = option(
        [0.9999], "decay rates of the exponential moving averages of the weights", at_least=0, at_most=0.999999
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = option(
        "fp32", "precision of the network's computation; the weights are float32"
    )
    compile: Optional[bool] = option(
        False, "compile with torch.compile: minutes per start, needs a C++ compiler; null: on a GPU", may_change=True
    )
    graph: Optional[bool] = option(
        None, "record a step as a CUDA graph, on one GPU and not in fp16; null: unless compiled", may_change=True
    )
    deterministic: bool = option(False, "GPU kernels that give the same bits in every run; slower", may_change=True)
    init_from: Optional[str] = option(
        None, "initial weights: a checkpoint folder, or a .pt or .safetensors state dict; null: random"
    )
    checkpoints: Checkpoints = section(Checkpoints, "checkpoint schedule")
    state_every_minutes: float = option(
        10.0, "interval between saved training states", unit="minutes", at_least=0, may_change=True
    )
    log_every: int = option(50, "steps between log entries", unit="steps", at_least=1)
    sample_every: int = option(
        0, "steps between sample grids from the fixed noise; 0: none", unit="steps", at_least=0, may_change=True
    )


@dataclass
class Measures:
    """Options of individual measures. Changing one recomputes the measure but not the images."""

    knn_k: int = option(50, "nearest neighbors per image in kNN coverage", at_least=1)
    mapping_images: int = option(1000, "images per chunk within which noises and images are matched", at_least=2)
    correlation_images: int = option(1000, "maximum number of images in pixel correlations", at_least=3)
    plain_threshold: float = option(
        0.025, "mean difference to two neighbors below which a pixel, from −1 to 1, is plain", at_least=0.0
    )
    dino_model: Optional[str] = option(
        "facebook/dino-vits16", "DINO model: a name on the Hugging Face Hub or a folder; null: not measured"
    )
    fid_network: Optional[str] = option(
        None, "Inception network for FID: a TorchScript file, uint8 images → features; null: not measured"
    )
    inversion_checkpoints: Literal["none", "last", "all"] = option(
        "last", "checkpoints at which measures that run the network, such as the comparison of inverters, are computed"
    )
    inverters: list[str] = option(
        ["naive (diffusers)", "fixed point", "extrapolated Anderson"],
        "inverters that are compared; empty: all, which is also the default of python -m analyze inverters",
    )
    inverter_nfe: list[int] = option(
        [], "budgets of network evaluations per image; empty: 1, 2, 3, 5 and 10 × T", at_least=1
    )
    inverter_images: int = option(32, "images that each inverter inverts", at_least=2)
    contraction_images: int = option(8, "images at which the Jacobians of the inverse steps are measured", at_least=1)
    step_error_images: int = option(64, "images whose inversion is compared with the exact one by step", at_least=1)
    forward_start_images: int = option(64, "images that are inverted from forward noise", at_least=1)


@dataclass
class Analyze:
    """Generation and inversion at each checkpoint."""

    samples: int = option(2048, "images generated per checkpoint", at_least=4)
    ddim_steps: int = option(100, "DDIM steps from noise to image", at_least=2)
    inversion_steps: Optional[int] = option(None, "DDIM steps from image to latent; null: ddim_steps", at_least=2)
    clip_denoised: Optional[bool] = option(
        None, "clip the predicted x_0 to [−1, 1] in each step; null: like the model's original sampler"
    )
    labels: list[int] = option([], "class labels of a conditional model, repeated in order; empty: all", at_least=0)
    weights: str = option(
        "ema_0.9999", 'weights to analyze: "ema_<rate>" with a rate in train.ema_rates, or "model" for the raw weights'
    )
    noise_seed: int = option(0, "seed of the fixed noise x_T", at_least=0)
    batch_size: Optional[int] = option(
        None, "images per batch; null: as many as fit; affects results only by rounding", at_least=1
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = option(
        "bf16", "precision of the network's computation; bf16 changes distances and angles by less than 0.5%"
    )
    compile: Optional[bool] = option(
        False, "compile the network once per job, for large analyses: minutes, needs a C++ compiler; null: on a GPU"
    )
    pictures: int = option(10, "images shown per checkpoint", at_least=1, may_change=True)
    published: Optional[Literal["ddpm_cifar10", "ddpm_imagenet64", "ldm_celeba"]] = option(
        None, "model of the paper whose published values are shown for comparison; null: none", may_change=True
    )
    measures: Measures = section(Measures, "options of individual measures")


@dataclass
class Wandb:
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = option("auto", "auto: online if logged in, else offline")
    project: str = option("noisemap", "project name")
    entity: Optional[str] = option(None, "user or team; null: your default entity")


@dataclass
class Cluster:
    """Jobs and their resources; configs/cluster/ contains profiles. Options from `timeout_hours` on are for SLURM."""

    kind: Literal["local", "debug", "slurm"] = option(
        "local", "local: processes on this machine; debug: within the launching process; slurm: SLURM jobs"
    )
    max_parallel: int = option(
        2, "maximum number of concurrent jobs; on SLURM: of analysis jobs per seed or model", at_least=1
    )
    slice_minutes: float = option(60.0, "target duration of an analysis job", unit="minutes", at_least=0.01)
    checkpoint_minutes: Optional[float] = option(
        None,
        "analysis time per checkpoint; null: measured by the most recent analysis job; estimated until then",
        unit="minutes",
        at_least=0.001,
    )
    checkpoints_per_job: Optional[int] = option(
        None, "checkpoints per analysis job; null: derived from slice_minutes and max_parallel", at_least=1
    )
    images_per_job: Optional[int] = option(
        None,
        "images per job of a pretrained model's study; null: derived from slice_minutes and max_parallel",
        at_least=1,
    )
    timeout_hours: float = option(24.0, "time limit of a SLURM job", unit="hours", at_least=0.01)
    train_timeout_hours: Optional[float] = option(
        None,
        "time limit of a training job, requeued until training is done; null: timeout_hours",
        unit="hours",
        at_least=0.01,
    )
    nodes: int = option(1, "nodes per training job", at_least=1)
    gpus_per_node: int = option(0, "GPUs per node, one per process; an analysis job uses at most one", at_least=0)
    gpu_type: Optional[str] = option(None, "GPU type, e.g. a100; null: any")
    processes_per_node: Optional[int] = option(
        None, "training processes per node; null: one per GPU, or one without GPUs", at_least=1
    )
    cpus_per_task: int = option(4, "CPU cores per process", at_least=1)
    memory_gb: Optional[float] = option(None, "memory per process; null: cluster default", unit="GB", at_least=0.1)
    partition: Optional[str] = option(None, "partition; null: cluster default")
    account: Optional[str] = option(None, "account to charge")
    qos: Optional[str] = option(None, "quality of service")
    gres: Optional[str] = option(None, "generic resources in addition to GPUs, e.g. nvme:1")
    constraint: Optional[str] = option(None, "required node features")
    exclude: Optional[str] = option(None, "nodes to exclude")
    mail_user: Optional[str] = option(None, "e-mail address for SLURM's notifications")
    mail_type: Optional[str] = option(None, "events that trigger an e-mail, e.g. END,FAIL")
    setup: list[str] = option([], "shell commands run before the job, e.g. module load cuda")
    srun_args: list[str] = option([], "additional arguments of srun, e.g. --container-image=…")
    additional_parameters: dict[str, Any] = option({}, "other options of sbatch, as name: value")
    signal_seconds: int = option(
        120, "time before the time limit at which a job is signaled to save and stop", unit="seconds", at_least=1
    )
    fruitless_restarts: int = option(3, "consecutive restarts without progress after which a job fails", at_least=0)


@dataclass
class Experiment:
    """A model trained with several seeds, with an analysis of each checkpoint."""

    name: str = option(MISSING, "name of the experiment and of its folder in `runs`; default: name of the YAML file")
    runs: str = option("runs", "parent folder of all experiments", may_change=True)
    seeds: list[int] = option([0, 10, 42], "seeds to train and average over", at_least=0, may_change=True)
    seed: int = option(0, "seed that `python -m train` trains", at_least=0)
    model: Model = section(Model, "network")
    diffusion: Diffusion = section(Diffusion, "forward and reverse process")
    data: Data = section(Data, "images")
    train: Train = section(Train, "training")
    analyze: Analyze = section(Analyze, "analysis", may_change=True)
    wandb: Wandb = section(Wandb, "Weights & Biases", may_change=True)
    cluster: Cluster = section(Cluster, "jobs", may_change=True)


@dataclass
class ModelStudy:
    """A pretrained model, analyzed with several numbers T of DDIM steps."""

    source: str = option(
        MISSING,
        "the model: a checkpoint folder, an OpenAI .pt or .safetensors file, a diffusers folder, or the name of a "
        "published model",
    )
    name: str = option(
        MISSING, "name of the study and of its folder in `runs`; default: name of the YAML file or of the model"
    )
    runs: str = option("runs", "parent folder of all studies")
    downloads: str = option("data/models", "folder for downloads of OpenAI's files")
    sweep: list[int] = option(
        [],
        "numbers T of DDIM steps in each direction; empty: those of the paper's 10, 50, 100, 500, 1000 and 4000 that "
        "the model supports; figures and pictures show analyze.ddim_steps, which is always part of the sweep and "
        "defaults to the largest T of a given sweep",
        at_least=2,
    )
    vae_scaling_factor: Optional[float] = option(
        None,
        "divisor of the latent codes before decoding; null: 1 for a VQModel, the factor stored in an AutoencoderKL",
    )
    prompts: list[str] = option([], "prompts of a text-to-image model; image i has prompt i modulo their number")
    prompts_file: Optional[str] = option(None, "text file with the prompts, one per line")
    negative_prompt: Optional[str] = option(None, "prompt of the second branch of guidance; null: the pipeline's own")
    guidance: float = option(1.0, "scale g of classifier-free guidance ε_u + g·(ε_c − ε_u); 1: none")
    latent_size: Optional[int] = option(
        None, "height and width of the latent codes of a text-to-image model; null: as trained", at_least=1
    )
    flow_matching: bool = option(False, "the file is a velocity model of facebookresearch/flow_matching")
    openai: OpenAI = section(OpenAI, "settings that an OpenAI file does not contain")
    analyze: Analyze = section(Analyze, "analysis")
    wandb: Wandb = section(Wandb, "Weights & Biases")
    cluster: Cluster = section(Cluster, "jobs")
