"""python -m train.datasets CONFIG.yaml [key=value …]: prepare the dataset of an experiment without training."""

from configs.command import experiment_command
from configs.errors import run_command


def main(arguments: list[str]) -> None:
    purpose = "Prepare the dataset of an experiment, or verify a prepared dataset."
    experiment = experiment_command("python -m train.datasets", purpose, arguments)
    import numpy as np

    from train.datasets.halves import half_indices
    from train.datasets.prepared import check_digests, prepared_folder, read_about

    path = prepared_folder(experiment.data, experiment.model)
    check_digests(path)
    about = read_about(path)
    count, channels, height, width = about["images"]
    print(f"{path}: {count:,} images of {height}×{width} pixels; channels: {channels}; classes: {about['classes']}")
    if half := experiment.data.half:
        labels = np.load(path / "labels.npy")
        print(f"data.half={half}: training uses {len(half_indices(labels, half)):,} of them")


run_command(main)
