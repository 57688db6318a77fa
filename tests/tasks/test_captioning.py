"""Pictures and captions: drawn, or from a folder."""

import pytest
import torch
from PIL import Image

from retrograd import config
from retrograd.errors import ConfigError, DataError, UsageError
from retrograd.tasks import make_task, shapes, written
from retrograd.tasks.captioning import CAPTIONS, Captioned, captioned, write
from retrograd.tasks.pictures import read_picture


def settings(*folders, task=None, **data):
    data |= {"train": [str(folder) for folder in folders]} if folders else {}
    return config.make({"task": {"name": "captioning"} | (task or {}), "data": data})


def picture(seed=0, channels=3, height=6, width=8):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(256, (channels, height, width), generator=g, dtype=torch.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, each with a caption of its own."""
    write(tmp_path / "set", [Captioned(picture(i), f"this is picture {i}") for i in range(12)])
    return tmp_path / "set"


def lines(folder):
    return (folder / CAPTIONS).read_text().splitlines()


def put(folder, *changed):
    (folder / CAPTIONS).write_text("".join(f"{line}\n" for line in changed))


class TestDrawn:
    def test_what_is_tested_was_never_seen_together(self):
        train, valid, test = captioned(settings(task={"examples": 2000, "held_out": 300}))
        assert [len(split) for split in (train, valid, test)] == [2000, 300, 300]

        def things(split):
            said = (each.caption.replace("left of", "left").replace("right of", "right").split() for each in split)
            return {frozenset(((a, b), (c, d))) for _, a, b, _, _, c, d in said}

        assert not things(train) & things(test)
        assert not things(train) & things(valid)
        words = {word for each in train for word in each.caption.split()}
        assert {word for each in (*valid, *test) for word in each.caption.split()} == words

    def test_the_test_set_is_the_same_however_much_is_trained_on(self):
        one, other = (captioned(settings(task={"examples": n, "held_out": 5}))[2] for n in (20, 40))
        assert [each.caption for each in one] == [each.caption for each in other]
        assert all(torch.equal(a.picture, b.picture) for a, b in zip(one, other, strict=True))

    def test_a_caption_can_be_read_back(self):
        made = settings(task={"examples": 500, "held_out": 30})
        c = make_task(made).collection
        for e, each in zip(c.test, captioned(made)[2], strict=True):
            assert written.text_of(e.targets.tolist()[:-1], c.tokenizer) == each.caption
            assert torch.equal(e.source, each.picture)

    def test_sizes_and_need(self):
        task = make_task(settings(task={"examples": 100, "held_out": 10}))
        assert (task.sizes.source, task.sizes.height, task.sizes.width) == (3, shapes.SIDE, shapes.SIDE)
        assert task.need in (8, 9)  # "a red circle above a blue square", "left of" is one word more; and the end


class TestFromAFolder:
    def test_the_last_pictures_are_held_out(self, folder):
        train, valid, test = captioned(settings(folder, task={"held_out": 2}))
        assert [each.caption for each in test] == ["this is picture 10", "this is picture 11"]
        assert [each.caption for each in valid] == ["this is picture 8", "this is picture 9"]
        assert len(train) == 8

    def test_pictures_come_back_as_they_were_written(self, folder):
        for i, each in enumerate(x for split in captioned(settings(folder)) for x in split):
            assert torch.equal(each.picture, picture(i))

    def test_grey_pictures_have_one_channel(self, tmp_path):
        write(tmp_path / "grey", [Captioned(picture(i, channels=1), "grey") for i in range(12)])
        task = make_task(settings(tmp_path / "grey"))
        assert (task.sizes.source, task.sizes.height, task.sizes.width) == (1, 6, 8)
        assert torch.equal(task.collection.train[3].source, picture(3, channels=1))

    def test_captions_of_one_picture_stay_in_one_split(self, folder):
        first, *rest = lines(folder)
        put(folder, first, *rest, first.replace("this is", "again"))
        splits = captioned(settings(folder, task={"held_out": 2}))
        [where] = [i for i, split in enumerate(splits) if any(e.caption == "again picture 0" for e in split)]
        assert any(each.caption == "this is picture 0" for each in splits[where])
        assert sum(map(len, splits)) == 13

    def test_a_folder_of_its_own_is_tested_on(self, folder, tmp_path):
        write(tmp_path / "own", [Captioned(picture(99), "another")])
        train, valid, test = captioned(settings(folder, test=str(tmp_path / "own"), task={"held_out": 2}))
        assert [each.caption for each in test] == ["another"]
        assert (len(train), len(valid)) == (10, 2)

    def test_pictures_may_lie_in_folders_within(self, folder):
        (folder / "in").mkdir()
        (folder / "00001.png").rename(folder / "in" / "00001.png")
        put(folder, *(line.replace("00001", "in/00001") for line in lines(folder)))
        assert sum(map(len, captioned(settings(folder)))) == 12


class TestBadInput:
    def refused(self, folder, sentence, **options):
        with pytest.raises(DataError, match=sentence) as raised:
            captioned(settings(folder, **options))
        assert "\n" not in str(raised.value)

    def test_a_folder_that_is_none(self, tmp_path):
        self.refused(tmp_path / "nowhere", "nowhere is no folder; captioning needs one with captions.tsv")

    def test_a_folder_without_captions(self, tmp_path):
        self.refused(tmp_path, r"No file is at .*captions\.tsv")

    def test_a_caption_without_a_picture(self, folder):
        (folder / "00003.png").unlink()
        self.refused(folder, r"captions\.tsv, line 3: No picture is at .*00003\.png")

    def test_a_row_without_a_caption(self, folder):
        put(folder, *lines(folder), "00001.png")
        self.refused(folder, r"captions\.tsv, line 13: expected a picture's file and its caption .* no tab")

    def test_a_file_that_is_no_picture(self, folder):
        (folder / "00004.png").write_text("not a picture at all")
        self.refused(folder, r"line 4: .*00004\.png is no picture that can be read")

    def test_a_picture_that_is_cut_off(self, folder):
        file = folder / "00005.png"
        file.write_bytes(file.read_bytes()[:-40])
        self.refused(folder, r"line 5: The picture .*00005\.png cannot be read")

    def test_a_directory_for_a_picture(self, folder):
        put(folder, *lines(folder), "../set\thello")
        self.refused(folder, "line 13: .* is a directory, no picture")

    def test_pictures_of_mixed_size(self, folder):
        Image.fromarray(picture(1, width=9).permute(1, 2, 0).numpy()).save(folder / "00007.png")
        self.refused(folder, "line 7: the picture 00007.png is 9 x 6 in colour, and the first one 8 x 6 in colour")

    def test_grey_among_colours(self, folder):
        Image.fromarray(picture(1, channels=1)[0].numpy()).save(folder / "00007.png")
        self.refused(folder, "line 7: .* is 8 x 6 in grey, and the first one 8 x 6 in colour")

    def test_a_kind_of_picture_that_would_lose_something(self, folder):
        Image.new("RGBA", (8, 6)).save(folder / "00002.png")
        self.refused(folder, r"line 2: .* is of the kind RGBA; save it in grey \(L\) or colour \(RGB\)")

    @pytest.mark.parametrize("file", ["../secret.png", "/etc/passwd", "in/../../secret.png"])
    def test_a_place_outside_the_folder(self, folder, file):
        (folder.parent / "secret.png").write_bytes((folder / "00001.png").read_bytes())
        put(folder, *lines(folder), f"{file}\thello")
        self.refused(folder, rf"line 13: {file} leads out of the folder")

    def test_a_link_that_leads_outside_the_folder(self, folder):
        (folder.parent / "secret.png").write_bytes((folder / "00001.png").read_bytes())
        (folder / "link.png").symlink_to(folder.parent / "secret.png")
        put(folder, *lines(folder), "link.png\thello")
        self.refused(folder, "line 13: link.png leads out of the folder")

    def test_too_few_pictures(self, folder):
        self.refused(folder, "There are 12 examples, too few to hold out 6", task={"held_out": 6})

    def test_a_length_and_a_number_of_examples(self, folder):
        with pytest.raises(ConfigError, match=r"leave task\.length out"):
            make_task(settings(task={"length": 9}))
        with pytest.raises(UsageError, match="for a set that is generated"):
            captioned(settings(folder, task={"examples": 9}))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_pictures_of_few_colours_are_read_as_grey_or_colour(mode, tmp_path):
    Image.fromarray(picture().permute(1, 2, 0).numpy()).convert(mode).save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png").shape == ((1 if mode in "1L" else 3), 6, 8)
