"""Images for the benchmark: small sets that live on the device, and folders on disk.

>>> from gpu_bench import data
>>> digits = data.load("digits")
>>> digits.shape, digits.classes, len(digits.train_labels), len(digits.test_labels)
((1, 8, 8), 10, 1437, 360)
>>> images, labels = next(iter(data.Batches(digits, batch_size=128, seed=0).epoch(0)))
>>> images.shape, images.dtype, labels.dtype
(torch.Size([128, 1, 8, 8]), torch.float32, torch.int64)
"""

from gpu_bench.data.batches import Batches
from gpu_bench.data.dataset import Dataset
from gpu_bench.data.folder_batches import FolderBatches
from gpu_bench.data.folders import ImageFolders
from gpu_bench.data.sources import NAMES, load

__all__ = ["NAMES", "Batches", "Dataset", "FolderBatches", "ImageFolders", "load"]
