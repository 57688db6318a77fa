"""Sequential digits: pixels in order, a label at the end, from IDX files, from folders and from scikit-learn."""

import gzip
import math

import pytest
import torch

from retrograd import config
from retrograd.errors import ConfigError, DataError, MissingExtra, UsageError
from retrograd.tasks import make_task
from retrograd.tasks.idx import read_idx
from retrograd.tasks.pictures import grey
from tests.tasks.images import idx, mnist, pictures


def digits(*train, permuted=False, **data):
    return make_task(config.make({"task": {"name": "digits", "permuted": permuted}, "data": {"train": train, **data}}))


def whole(task):
    """Every example of the three splits: pixels (N, T) and labels (N,)."""
    c = task.collection
    examples = [*c.train, *c.valid, *c.test]
    return torch.stack([e.inputs[:, 0] for e in examples]), torch.stack([e.targets[-1] for e in examples])


def rows(pixels):
    return sorted(map(tuple, pixels.tolist()))


# what is read


def test_an_image_is_read_row_by_row_and_named_at_the_last_pixel(tmp_path):
    image = torch.tensor([[[0, 51, 255], [102, 204, 153]]], dtype=torch.uint8)
    (tmp_path / "images").write_bytes(idx(image.repeat(10, 1, 1)))
    (tmp_path / "labels").write_bytes(idx(torch.tensor([0, 1] * 5, dtype=torch.uint8)))
    task = digits(str(tmp_path / "images"), str(tmp_path / "labels"))
    w = next(task.testing())
    assert w.inputs.shape == (6, 1, 1)
    torch.testing.assert_close(w.inputs[:, 0, 0], torch.tensor([0, 0.2, 1, 0.4, 0.8, 0.6]))
    assert w.asked[:, 0].tolist() == [False] * 5 + [True]
    assert task.sizes.outputs == 2


def test_labels_are_found_beside_the_images_under_mnists_names_compressed_or_not(tmp_path):
    path = mnist(tmp_path)
    images, labels = read_idx(path), read_idx(path.replace("images-idx3-ubyte", "labels-idx1-ubyte.gz"))
    pixels, found = whole(digits(path))
    together = torch.cat([images.flatten(1) / 255, labels[:, None]], 1)
    assert rows(torch.cat([pixels, found[:, None]], 1)) == rows(together)


def test_compressed_images_are_the_same_images(tmp_path):
    path = mnist(tmp_path)
    (tmp_path / "small.gz").write_bytes(gzip.compress(read_bytes(path)))
    labels = path.replace("images-idx3-ubyte", "labels-idx1-ubyte.gz")
    assert digits(str(tmp_path / "small.gz"), labels).fingerprint == digits(path, labels).fingerprint


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def test_a_folder_has_a_class_for_each_of_its_subfolders_in_order_of_their_names(tmp_path):
    path = pictures(tmp_path / "train", {"dog": [10, 20] * 6, "cat": [30] * 12})
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "dog" / ".DS_Store").write_bytes(b"no image")
    task = digits(path)
    pixels, labels = whole(task)
    assert task.collection.labels == ("cat", "dog")
    assert pixels.shape == (24, 6)
    assert {(round(float(x[0]) * 255), int(k)) for x, k in zip(pixels, labels, strict=True)} == {
        (30, 0),
        (10, 1),
        (20, 1),
    }


def test_coloured_pictures_are_read_as_greys(tmp_path):
    from PIL import Image

    path = pictures(tmp_path / "train", {"a": [0] * 9, "b": [255] * 9})
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "train" / "a" / "red.png")
    pixels, _ = whole(digits(path))
    assert sorted({round(float(x) * 255) for x in pixels[:, 0]}) == [0, 76, 255]  # 0.299 of red


def test_the_greys_of_a_coloured_picture_are_those_of_pillow():
    from PIL import Image

    picture = torch.randint(256, (3, 100, 200), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    picture[:, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    image = Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L")
    assert torch.equal(grey(picture), torch.tensor(list(image.tobytes()), dtype=torch.uint8).view(100, 200))
    assert torch.equal(grey(picture[:1]), picture[0])


# splits, order, lag


def test_a_tenth_is_validated_and_a_tenth_tested_unless_they_are_given(tmp_path):
    own, other = mnist(tmp_path, count=50), mnist(tmp_path, count=30, part="t10k")
    sizes = [digits(own), digits(own, test=other), digits(own, valid=other), digits(own, valid=other, test=other)]
    assert [tuple(task.counts.values()) for task in sizes] == [(40, 5, 5), (45, 5, 30), (45, 30, 5), (50, 30, 30)]


def test_no_image_is_in_two_splits_and_the_cut_is_the_same_for_every_seed(tmp_path):
    path = mnist(tmp_path, count=50)
    task = digits(path)
    assert rows(whole(task)[0]) == rows(read_idx(path).flatten(1) / 255)
    assert digits(path).fingerprint == task.fingerprint


def test_a_given_test_set_keeps_the_classes_of_training(tmp_path):
    train = pictures(tmp_path / "train", {"a": [0] * 10, "b": [90] * 10, "c": [180] * 10})
    test = pictures(tmp_path / "test", {"c": [181, 182]})
    task = digits(train, test=test)
    assert [int(e.targets[-1]) for e in task.collection.test] == [2, 2]
    assert task.sizes.outputs == 3
    assert [name for name, _ in task.groups()[1]] == ["c"]


def test_permuting_moves_the_pixels_of_all_images_alike(tmp_path):
    path = mnist(tmp_path, count=50, height=4, width=5)
    plain, permuted = (whole(digits(path, permuted=p)) for p in (False, True))
    assert torch.equal(plain[1], permuted[1])
    columns = [tuple(column) for column in plain[0].t().tolist()]
    order = [columns.index(tuple(column)) for column in permuted[0].t().tolist()]
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
    assert torch.equal(whole(digits(path, permuted=True))[0], permuted[0])


def test_the_lag_it_needs_ends_at_the_first_pixel_that_tells_anything(tmp_path):
    images = torch.zeros(20, 2, 3, dtype=torch.uint8)
    images[:, 0, 2] = torch.arange(20)
    (tmp_path / "a-images").write_bytes(idx(images))
    (tmp_path / "a-labels").write_bytes(idx(torch.arange(20, dtype=torch.uint8) % 2))
    assert digits(str(tmp_path / "a-images")).need == 3


def test_guessing_costs_the_entropy_of_the_training_labels(tmp_path):
    (tmp_path / "a-images").write_bytes(idx(torch.zeros(400, 2, 2, dtype=torch.uint8)))
    (tmp_path / "a-labels").write_bytes(idx((torch.arange(400) % 4 == 0).byte()))
    task = digits(str(tmp_path / "a-images"))
    labels = torch.stack([e.targets[-1] for e in task.collection.train]).tolist()
    share = labels.count(1) / len(labels)
    by_hand = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert task.guess == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.5623, abs=0.02)  # of a quarter and three


def test_each_class_is_tested_by_itself(tmp_path):
    task = digits(mnist(tmp_path, count=80))
    word, groups = task.groups()
    found = {name: sum(w.targets.shape[1] for w in windows) for name, windows in groups}
    assert word == "class"
    assert found == {str(k): n for k in range(4) if (n := sum(int(e.targets[-1]) == k for e in task.collection.test))}


# bad input


def broken(folder, name, content):
    (folder / name).write_bytes(content)
    return str(folder / name)


THREE = torch.zeros(3, 2, 2, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x89PNG\r\n\x1a\n", r"a is no IDX file of images or labels: .* got 89 50 4e 47"),
        (b"", "a is no IDX file of images or labels: .* got nothing"),
        (idx(torch.zeros(2, 2, dtype=torch.uint8)), "begin with 00 00 08 and 03 or 01, got 00 00 08 02"),
        (b"\0\0\x0d\3" + idx(THREE)[4:], "got 00 00 0d 03"),
        (idx(THREE)[:9], "ends before it says"),
        (idx(THREE)[:-1], "says that it holds 3 x 2 x 2 bytes, and holds 11"),
        (idx(THREE) + b"\0", "and holds 13"),
        (idx(THREE[:0]), "a is empty"),
        (gzip.compress(idx(THREE), mtime=0)[:-9], "The IDX file .*a cannot be read"),
        (b"\x1f\x8bnot really", "The IDX file .*a cannot be read"),
        (idx(THREE), "a has no labels beside it"),
        (idx(THREE[:, 0, 0]), "a holds labels; give the file of their images too"),
    ],
)
def test_a_file_that_is_no_idx_file_is_named_in_one_sentence(tmp_path, content, sentence):
    with pytest.raises(DataError, match=sentence) as raised:
        digits(broken(tmp_path, "a", content))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"No file is at .*none"):
        digits(str(tmp_path / "none"))


def test_labels_that_do_not_match_the_images_are_refused(tmp_path):
    images = broken(tmp_path, "images", idx(THREE))
    labels = broken(tmp_path, "labels", idx(torch.zeros(4, dtype=torch.uint8)))
    with pytest.raises(DataError, match=r"labels must hold a label for each of the 3 images in .*images; it holds 4"):
        digits(images, labels)
    with pytest.raises(DataError, match="2 files of images and 1 of labels"):
        digits(images, images, labels)


def test_images_of_mixed_size_are_refused(tmp_path):
    a, b = mnist(tmp_path, part="a"), mnist(tmp_path, part="b", width=4)
    with pytest.raises(DataError, match=r"b-images-idx3-ubyte has images of 4x3 pixels, and .*a-.* of 2x3"):
        digits(a, b)
    with pytest.raises(DataError, match="b-images-idx3-ubyte have 4x3 pixels, and those trained on 2x3"):
        digits(a, test=b)
    folder = pictures(tmp_path / "mixed", {"x": [1, 2]})
    pictures(tmp_path / "mixed" / "..", {"mixed/y": [3]}, size=(5, 5))
    with pytest.raises(DataError, match=r"y/000.png has 5x5 pixels, and .*x/000.png has 3x2"):
        digits(folder)


def test_a_class_that_was_not_trained_on_is_refused(tmp_path):
    train, test = mnist(tmp_path, classes=3), mnist(tmp_path, count=41, part="t10k")
    with pytest.raises(
        DataError, match=r"The label 3 of .*t10k-images-idx3-ubyte is none of those trained on: 0, 1, 2"
    ):
        digits(train, test=test)
    folder = pictures(tmp_path / "test", {"7": [1]})
    with pytest.raises(DataError, match=r"folder .*7 is none of those trained on"):
        digits(train, test=folder)


def test_one_class_alone_and_too_few_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="all of one class"):
        digits(pictures(tmp_path / "one", {"a": [1] * 20}))
    with pytest.raises(DataError, match="no example for valid"):
        digits(pictures(tmp_path / "few", {"a": [1], "b": [2]}))


def test_pictures_that_are_none_are_refused(tmp_path):
    folder = pictures(tmp_path / "train", {"a": [1], "b": [2]})
    file = tmp_path / "train" / "b" / "zzz.png"
    file.write_text("this is no picture")
    with pytest.raises(DataError, match=r"zzz.png is no picture that can be read"):
        digits(folder)
    file.write_bytes((tmp_path / "train" / "b" / "000.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"The picture .*zzz.png cannot be read"):
        digits(folder)


@pytest.mark.parametrize(("mode", "named"), [("I;16", "I"), ("LA", "LA"), ("RGBA", "RGBA")])
def test_a_picture_that_is_no_grey_and_no_rgb_of_8_bits_is_refused_as_everywhere(tmp_path, mode, named):
    from PIL import Image

    folder = pictures(tmp_path / "train", {"a": [1] * 9, "b": [2] * 9})
    Image.new(mode, (3, 2)).save(tmp_path / "train" / "b" / "zzz.png")
    with pytest.raises(DataError, match=rf"zzz.png is of the kind {named}.*; save it in grey"):
        digits(folder)


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="no subfolder in"):
        digits(str(tmp_path))
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"no image in .*a; put"):
        digits(str(tmp_path))
    with pytest.raises(UsageError, match="one folder of images; got 2 paths"):
        digits(str(tmp_path), str(tmp_path))


def test_a_length_and_test_images_without_training_images_are_refused(tmp_path):
    path = mnist(tmp_path)
    with pytest.raises(ConfigError, match=r"leave task.length out"):
        make_task(config.make({"task": {"name": "digits", "length": 64}, "data": {"train": [path]}}))
    with pytest.raises(UsageError, match="none to train on"):
        digits(test=path)


# scikit-learn's own


def test_without_scikit_learn_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'retrograd\[sklearn\]'"):
        digits()


@pytest.mark.extra
def test_scikit_learns_digits_are_1797_images_of_64_steps():
    from sklearn.datasets import load_digits

    task = digits()
    pixels, labels = whole(task)
    assert sum(task.counts.values()) == len(pixels) == 1797
    assert rows(pixels) == rows(torch.tensor(load_digits().images, dtype=torch.float32).flatten(1) / 16)
    assert labels.bincount().tolist() == torch.tensor(load_digits().target).bincount().tolist()
    assert task.sizes.outputs == 10
    assert task.guess == pytest.approx(math.log(10), abs=5e-3)
    assert task.need == 62  # the first pixel is white in every image
    assert pixels.shape[1] == 64
