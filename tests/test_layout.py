"""The splits and classes of a labeled folder, by the names of its folders."""

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from divcon.data.labeled.layout import Layout, Split, find_layout
from divcon.errors import UsageError

CLASSES = {"bird", "cat", "dog"}
ROOT = Path("pile")


def parts(*names: str) -> dict[str, set[str]]:
    return {name: set(CLASSES) for name in names}


def flat(*names: str) -> dict[str, set[str]]:
    return {name: set() for name in names}


def layout(inside: Mapping[str, Iterable[str]], split: Split = "auto") -> Layout:
    return find_layout(ROOT, {name: set(below) for name, below in inside.items()}, split)


def both(*names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = layout(parts(*names))
    return found.train, found.test


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "val"), ("train", "valid"), ("train", "validation"), ("Train", "Test"), ("training", "testing"),
        ("TRAIN", "EVAL"), ("train", "dev"), ("train", "evaluation"), ("trainval", "test"),
        # as they come from Kaggle, Udemy, COCO, Google Drive
        ("training_set", "test_set"), ("seg_train", "seg_test"), ("train2017", "val2017"), ("trainset", "testset"),
        ("Training Data", "Testing Data"), ("ILSVRC2012_img_train", "ILSVRC2012_img_val"), ("train-images", "test-images"),
    ],
)  # fmt: skip
def test_a_validation_folder_is_a_test_split(train: str, test: str) -> None:
    assert both(train, test) == both(test, train) == ((train,), (test,))
    assert layout(parts(train, test)).class_of((train, "cat", "deep")) == "cat"


@pytest.mark.parametrize("middle", ["val", "valid", "Validation", "dev"])
def test_of_three_parts_the_validation_one_is_neither_learned_from_nor_tested_on(middle: str) -> None:
    found = layout(parts("train", middle, "test"))
    assert (found.train, found.test, found.left_out) == (("train",), ("test",), {middle})
    assert found.class_of((middle, "cat")) is None and found.class_of(("test", "cat")) == "cat"


@pytest.mark.parametrize(
    "beside", ["unlabeled", "Unlabeled", "extra", "unsup", "seg_pred", "sample_submission", "docs"]
)
def test_a_folder_beside_the_parts_makes_no_classes_of_them(beside: str) -> None:
    found = layout({**parts("train", "test"), beside: set()})
    assert (found.train, found.test, found.left_out) == (("train",), ("test",), {beside})


def test_unlabeled_pictures_are_no_class_wherever_they_lie() -> None:
    found = layout({"train": {"neg", "pos", "unsup"}, "test": {"neg", "pos"}})
    assert found.class_of(("train", "unsup")) is None and found.class_of(("train", "neg")) == "neg"
    beside = layout(flat("cat", "dog", "unlabeled"))
    assert beside.class_of(("unlabeled",)) is None and beside.leaves_out(("unlabeled",))
    assert layout(flat("cat", "unlabeled"), None).class_of(("unlabeled",)) == "unlabeled"


@pytest.mark.parametrize(
    "inside",
    [
        {**flat("cat", "dog"), **parts("train")}, flat("cat", "dog", "train"),
        parts("val", "test"), parts("train", "Train", "test"), parts("train", "val", "dev"), parts("train", "training"),
        {**parts("train"), "test": set(), "cat": set(), "dog": set()}, flat("plane", "car", "train", "test"),
        parts("training_images", "test_set"), parts("train", "test_set"), parts("train", "test", "seg_train", "seg_test"),
        {**flat("meeting"), "training": set(), "development": set()},
    ],
)  # fmt: skip
def test_what_may_be_parts_or_classes_is_refused_with_the_words_that_settle_it(inside: dict[str, set[str]]) -> None:
    with pytest.raises(UsageError, match=r"pile holds .*split=none.*split=\S+,\S+ to name the splits"):
        layout(inside)
    assert layout(inside, None).class_of((min(inside),)) == min(inside)


@pytest.mark.parametrize("part", ["train", "Test", "training"])
def test_a_part_without_another_is_refused_by_naming_it(part: str) -> None:
    with pytest.raises(UsageError, match=f"pile holds {part}/ alone.* Name pile/{part}, which"):
        layout(parts(part))


def test_the_folder_that_may_have_been_meant_is_named() -> None:
    with pytest.raises(UsageError, match=r"like pile/train$"):
        layout({**flat("cat", "dog"), **parts("train")})


def test_a_message_names_no_more_than_three_folders() -> None:
    with pytest.raises(UsageError, match=r"pile holds c0/, c1/, c10/ and 38 more:"):
        layout(flat("train", *(f"c{i}" for i in range(40))))


def test_a_real_class_may_be_called_train() -> None:
    vehicles = flat("car", "plane", "train")
    assert [layout(vehicles, None).class_of((name,)) for name in vehicles] == list(vehicles)
    inner = layout({"train": {"plane", "train"}, "test": {"plane", "train"}})
    assert inner.class_of(("test", "train")) == "train"
    assert layout(vehicles, "none") == layout(vehicles, None)


@pytest.mark.parametrize(
    "names",
    [("steam_train", "tram"), ("bullet train", "bus"), ("test_tube", "beaker"), ("invalid", "trainer", "contest"), ("dev1ce", "evaluator")],
)  # fmt: skip
def test_a_class_with_such_a_word_in_its_name_is_a_class(names: tuple[str, ...]) -> None:
    found = layout(flat(*names))
    assert found.train == () and [found.class_of((name,)) for name in names] == list(names)


@pytest.mark.parametrize(
    ("train", "test"),
    [("TrainPhotos", "TestPhotos"), ("MyTrain", "MyTest"), ("trainA", "testA"), ("SEGTrain", "SEGTest"), ("TrainVal", "Test"), ("dataTrain1", "dataTest1")],
)  # fmt: skip
def test_a_part_is_known_in_words_that_capitals_part(train: str, test: str) -> None:
    assert both(train, test) == ((train,), (test,))


@pytest.mark.parametrize("names", [("trainA", "trainB", "testA", "testB"), ("trainA", "testB")])
def test_parts_of_two_domains_are_no_classes(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="split=none"):
        layout(flat(*names))


@pytest.mark.parametrize(
    "names",
    [
        ("Trainingsdaten", "Testdaten"), ("entrenamiento", "prueba"), ("训练集", "测试集"), ("tr", "te"), ("trn", "tst"),
        ("fold0", "fold1", "fold2"), ("part1", "part2"), ("gallery", "probe"), ("source", "target"), ("2023", "2024"),
        ("photo", "sketch", "art"), ("обучение", "тест"), ("camera_1", "camera_2", "camera_3"),
    ],
)  # fmt: skip
def test_folders_that_hold_the_same_classes_are_refused_whatever_they_are_called(names: tuple[str, ...]) -> None:
    nearly = {**parts(*names), names[0]: {"Bird", "cat", "dog", "frog"}}
    for inside in (parts(*names), nearly, {**parts(*names), "unlabeled": set()}):
        with pytest.raises(UsageError, match=r"the same folders .*split=none.*split=\S+,\S+ to name.*like pile/\S+$"):
            layout(inside)
        assert layout(inside, None).train == ()
    assert layout(parts(*names), f"{names[0]},{names[1]}").test == (names[1],)


@pytest.mark.parametrize(
    "inside",
    [
        {"cat": {"a", "b"}, "dog": {"c", "d"}}, {"cat": {"raw"}, "dog": {"raw"}},
        {"covid": {"images", "masks"}, "normal": {"images", "masks"}},
        {"cat": {"a", "b"}, "dog": {"a", "b"}, "bird": set(), "frog": set()},
        {"cat": {"a", "b", "c", "d"}, "dog": {"a", "b", "e", "f"}},
    ],
)  # fmt: skip
def test_classes_that_share_few_folders_are_classes(inside: dict[str, set[str]]) -> None:
    assert layout(inside).class_of((min(inside), "a")) == min(inside)


@pytest.mark.parametrize("below", [set[str](), {"images"}, {"unknown"}])
def test_where_test_has_no_classes_val_is_tested_on(below: set[str]) -> None:
    found = layout({**parts("train", "val"), "test": below, "sample_submission": set()})
    assert (found.train, found.test, found.untestable) == (("train",), ("val",), "test")
    assert layout({**parts("train", "val"), "test": {"cat"}}).test == ("test",)


@pytest.mark.parametrize(
    "inside",
    [
        {**parts("train"), "test": set()}, {**parts("train"), "test": {"images"}, "val": {"images"}},
        {**parts("train"), "valid": set()}, {**parts("train"), "test": {"test"}},
    ],
)  # fmt: skip
def test_a_test_part_without_classes_is_refused_by_naming_what_has_some(inside: dict[str, set[str]]) -> None:
    with pytest.raises(UsageError, match=r"nothing to test on\. Name pile/train, which will be split 70/30"):
        layout(inside)


@pytest.mark.parametrize(
    ("inside", "split"),
    [
        (parts("train_v1", "test_v1", "train_v2", "test_v2"), "train_v1,test_v1"),
        (parts("dog_train", "cat_train", "dog_test", "cat_test"), "cat_train,cat_test"),
        (parts("train.X1", "train.X2", "val.X"), "train.X1+train.X2,val.X"),
        (parts("train", "test_a", "test_b"), "train,test_a+test_b"), (parts("val", "test"), "val,test"),
        (parts("train a", "test a", "train b", "test b"), "'train a,test a'"),
        ({**parts("train_v2", "test_v2"), **flat("train_v1", "test_v1")}, "train_v2,test_v2"),
        (flat("train_v1", "test_v1", "train_v2", "test_v2"), "TRAIN,TEST"), (flat("cat", "dog", "test"), "TRAIN,TEST"),
        (parts("train", "training"), "TRAIN,TEST"), (parts("train,1", "test,1", "train,2", "test,2"), "TRAIN,TEST"),
    ],
)  # fmt: skip
def test_a_split_is_suggested_that_would_do_when_typed(inside: dict[str, set[str]], split: str) -> None:
    with pytest.raises(UsageError) as refused:
        layout(inside)
    assert f"split={split} to name the splits" in str(refused.value)
    if split != "TRAIN,TEST":
        assert layout(inside, split.strip("'")).train


def test_parts_below_the_classes_are_not_mixed_unasked() -> None:
    inside = {"bottle": {"train", "test"}, "cable": {"train", "test"}}
    with pytest.raises(UsageError, match=r"bottle/test/, bottle/train/.*split=none to mix"):
        layout(inside)
    assert layout(inside, None).class_of(("cable", "train")) == "cable"


@pytest.mark.parametrize("split", ["train+val,test", ("train+val", "test")])
def test_split_names_the_parts(split: Split) -> None:
    found = layout(parts("train", "val", "test", "old"), split)
    assert (found.train, found.test, found.left_out) == (("train", "val"), ("test",), {"old"})


def test_split_names_folders_that_have_no_usual_name() -> None:
    found = layout(parts("2023", "2024", "a+b"), "a+b,2024")
    assert (found.train, found.test, found.left_out) == (("a+b",), ("2024",), {"2023"})
    assert found.class_of(("2024", "unlabeled")) == "unlabeled"  # who types it knows


def test_split_may_be_typed_with_accents_apart() -> None:
    assert layout(parts("été", "test"), unicodedata.normalize("NFD", "été,test")).train == ("été",)


@pytest.mark.parametrize(
    ("split", "words"),
    [("train", "split=none"), ("train,val,test", "split=none"), ("train,tset", "did you mean 'test'"), ("train,train+test", "name two folders")],
)  # fmt: skip
def test_a_split_that_can_not_be_is_refused(split: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        layout(parts("train", "test"), split)
