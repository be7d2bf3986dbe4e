"""Files of strangers: NPZ and CSV either load right or are refused by name, whatever is in them."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrorflow import InputError, load
from mirrorflow.runs import untrusted
from mirrorflow.runs.untrusted import read_arrays, read_table

fuzz = settings(deadline=None, max_examples=60, derandomize=True)

Z = np.array([[1.0, -2.5, 0.0], [0.5, 3.0, 1e-300]])
y = np.array([4.0, -1.0])
LARGE = np.arange(1200.0).reshape(2, 600)  # more than the 4096 bytes that zipfile reads ahead


def archive(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A .npy member with this header, true or not."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + data


def header(descr: str = "'<f8'", fortran: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(f"{name}.npy", content)
    return path


def refused_or_right(path: Path, content: bytes, Z: np.ndarray, y: np.ndarray) -> bool:
    """Load `content` as a problem: True if right, False if refused; anything else fails."""
    path.write_bytes(content)
    try:
        problem = load(path)
    except InputError:
        return False
    assert np.array_equal(problem.Z, Z)
    assert np.array_equal(problem.y, y)
    return True


# ---- NPZ: what must load


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", "<i8", ">i2", "|u1", "|b1"])
def test_every_real_dtype_and_order_loads(tmp_path, dtype, compressed):
    wanted = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
    for Z_ in (wanted, np.asfortranarray(wanted)):
        (tmp_path / "a.npz").write_bytes(archive(compressed, Z=Z_, y=wanted[:, 0]))
        problem = load(tmp_path / "a.npz")
        assert problem.Z.dtype == np.float64
        assert np.array_equal(problem.Z, [[1, 0, 1], [0, 1, 1]])
        assert np.array_equal(problem.y, [1, 0])


def test_x_true_and_name_come_along(tmp_path):
    path = tmp_path / "mine.NPZ"
    path.write_bytes(archive(Z=Z, y=y, x_true=np.array([1, 0, 2])))
    problem = load(str(path))
    assert np.array_equal(problem.x_true, [1.0, 0.0, 2.0])
    assert problem.name == "mine"


def test_only_the_named_members_are_touched(tmp_path):
    """A pickled stranger beside Z and y is neither loaded nor a fault."""
    bomb = np.array([_Explodes()], dtype=object)
    (tmp_path / "a.npz").write_bytes(archive(Z=Z, y=y, extra=bomb))
    assert np.array_equal(load(tmp_path / "a.npz").Z, Z)
    with pytest.raises(InputError, match=r"extra in .*a\.npz must hold real numbers.* object"):
        read_arrays(tmp_path / "a.npz", every=True)


def test_every_array_by_name(tmp_path):
    (tmp_path / "a.npz").write_bytes(archive(**{"key/x": Z, "key/t": y, "none": np.zeros((0, 2))}))
    arrays = read_arrays(tmp_path / "a.npz", every=True)
    assert sorted(arrays) == ["key/t", "key/x", "none"]
    assert np.array_equal(arrays["key/x"], Z)
    assert arrays["none"].shape == (0, 2)
    assert not arrays["key/x"].flags.writeable


def test_required_and_optional(tmp_path):
    (tmp_path / "a.npz").write_bytes(archive(Z=Z, y=y))
    assert sorted(read_arrays(tmp_path / "a.npz", ("Z",), ("y", "x_true"))) == ["Z", "y"]
    with pytest.raises(InputError, match=r"must hold Z and b, but b is missing \(it holds Z, y\)"):
        read_arrays(tmp_path / "a.npz", ("Z", "b"))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_header_loads(tmp_path, version):
    member = npy(header(), struct.pack("<d", 2.5), version=bytes([version, 0]))
    path = zipped(tmp_path / "a.npz", y=member)
    assert read_arrays(path, ("y",))["y"].tolist() == [2.5]


def test_names_of_fields_in_a_version_3_header_execute_nothing(tmp_path):
    """It is version 3 for names beyond Latin-1; such arrays hold records, no numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.zeros(2, [("α", "<f8")]), version=(3, 0))
    path = zipped(tmp_path / "a.npz", y=stream.getvalue())
    with pytest.raises(InputError, match=r"y in .*a\.npz must hold real numbers"):
        read_arrays(path, ("y",))


@pytest.mark.parametrize("named", ["Z", "y", "x_true", "names", "Z y x_true names"])
def test_members_may_lack_the_suffix(tmp_path, named):
    """As other programs than NumPy write them; NumPy reads them too."""
    held = {"Z": Z, "y": y, "x_true": np.array([1.0, 0, 2]), "names": np.array(["a", "β", "c"])}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        for name, array in held.items():
            stream = io.BytesIO()
            np.save(stream, array)
            out.writestr(name if name in named.split() else f"{name}.npy", stream.getvalue())
    problem = load(tmp_path / "a.npz")
    assert np.array_equal(problem.Z, Z)
    assert np.array_equal(problem.y, y)
    assert np.array_equal(problem.x_true, [1, 0, 2])
    assert problem.names == ("a", "β", "c")


@pytest.mark.parametrize("again", ["y.npy", "y"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_refused(tmp_path, again):
    """Programs differ in which of the two they take."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        for name, array in (("Z.npy", Z), ("y.npy", y), (again, y + 1), ("other", Z), ("other", Z)):
            stream = io.BytesIO()
            np.save(stream, array)
            out.writestr(name, stream.getvalue())
    with pytest.raises(InputError, match=r"a\.npz must hold y once, but holds it twice"):
        load(tmp_path / "a.npz")
    assert np.array_equal(read_arrays(tmp_path / "a.npz", ("Z",))["Z"], Z)


def test_names_of_features_come_from_text_without_pickles(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(archive(Z=Z, y=y, names=np.array([["age", "dose", "α"]])))
    assert load(path).names == ("age", "dose", "α")
    path.write_bytes(archive(Z=Z, y=y))
    assert load(path).names is None
    for names, rule in (
        (np.array(["a", "b"]), r"a\.npz: names must have 3 entries \(one for each column of Z\)"),
        (np.array(["a", "", "c"]), r"a\.npz: names must have a name for each column, but column 2"),
        (np.array(["a", "b", "a"]), r"columns 1 and 3 are both 'a'"),
        (
            np.array([_Explodes()] * 3, object),
            r"names in .* must hold text, but its dtype is object",
        ),
        (np.arange(3.0), r"names in .* must hold text, but its dtype is float64"),
        (np.array([b"a", b"b", b"c"]), r"names in .* must hold text, but its dtype is \|S1"),
        (np.array(["a"]), r"names must have 3 entries .* has 1"),
    ):
        path.write_bytes(archive(Z=Z, y=y, names=names))
        with pytest.raises(InputError, match=rule):
            load(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_letters_that_there_are_not_are_refused(tmp_path, order):
    """NumPy's own conversion of them raises a SystemError."""
    content = np.array([0x110000, 97], f"{order}u4").tobytes()
    member = npy(header(descr=f"'{order}U1'", shape="(2,)"), content)
    path = zipped(tmp_path / "a.npz", Z=npy(header(shape="(1, 2)"), bytes(16)), names=member)
    with pytest.raises(InputError, match=r"names in .*a\.npz holds letters that there are not"):
        read_arrays(path, text=("names",))


# ---- NPZ: what must be refused


class _Explodes:
    def __reduce__(self):
        return (_exploded, ())


def _exploded() -> None:
    raise AssertionError("a pickle was loaded")


@pytest.mark.parametrize("name", ["Z", "y"])
def test_pickles_are_never_loaded(tmp_path, name):
    arrays = {"Z": Z, "y": y, name: np.array([_Explodes()] * 2, dtype=object)}
    (tmp_path / "a.npz").write_bytes(archive(**arrays))
    with pytest.raises(InputError, match=rf"{name} in .*must hold real numbers.* dtype is object"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", ["<c16", "<U3", "|S3", "<M8[s]", [("a", "<f8")]])
def test_other_dtypes_are_refused(tmp_path, dtype):
    (tmp_path / "a.npz").write_bytes(archive(Z=Z, y=np.zeros(2, dtype)))
    with pytest.raises(InputError, match=r"y in .*a\.npz must hold real numbers, but its dtype"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({}, r"must hold Z and y, but Z and y is missing \(it holds nothing\)"),
        ({"Z": Z}, r"must hold Z and y, but y is missing \(it holds Z\)"),
        ({"Z": Z, "y": y[:1]}, r"y must have 2 entries \(one for each row of Z\).* has 1"),
        ({"Z": Z[0], "y": y}, r"Z must have 2 ax[ei]s, but its shape is \(3,\)"),
        ({"Z": Z, "y": np.array([1.0, np.nan])}, r"y must be finite, but y\[.*1.*\] is nan"),
        ({"Z": Z / [0.1, 1, 1] + [np.inf, 0, 0], "y": y}, r"Z must be finite.* is inf"),
        ({"Z": np.zeros((0, 3)), "y": np.zeros(0)}, r"Z must not be empty"),
        ({"Z": Z, "y": y, "x_true": y}, r"x_true must have 3 entries"),
    ],
)
def test_arrays_that_make_no_problem(tmp_path, arrays, rule):
    (tmp_path / "a.npz").write_bytes(archive(**arrays))
    with pytest.raises(InputError, match=rule) as caught:
        load(tmp_path / "a.npz")
    assert str(caught.value).startswith(str(tmp_path / "a.npz"))


EIGHT = bytes(8)


CRAFTED = [
    b"",
    b"\x93NUMPY",
    b"not numpy at all",
    npy(header(), EIGHT)[:40],
    npy(header(), EIGHT, version=b"\x09\x00"),
    npy("", EIGHT),
    npy("[]", EIGHT),
    npy("{}", EIGHT),
    npy("{1: 2, 'shape': 3, (): 4}", EIGHT),
    npy("__import__('os').getcwd()", EIGHT),
    npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), ", EIGHT),
    npy("'unclosed", EIGHT),
    npy("(" * 3000, EIGHT),
    npy("-" * 9000 + "1", EIGHT),
    npy(" " * 20000 + "{}", EIGHT),
    npy(header(descr="()"), EIGHT),
    npy(header(descr="('<f8',)"), EIGHT),
    npy(header(descr="('<f8', (2,))"), EIGHT * 2),
    npy(header(descr="[]"), EIGHT),
    npy(header(descr="None"), EIGHT),
    npy(header(descr="'<f0'"), EIGHT),
    npy(header(descr="'|O'"), EIGHT),
    npy(header(descr="'|V8'"), EIGHT),
    npy(header(fortran="1"), EIGHT),
    npy(header(shape="1"), EIGHT),
    npy(header(shape="(1.0,)"), EIGHT),
    npy(header(shape="(-1,)"), EIGHT),
    npy(header(shape="(-1, -1)"), EIGHT),
    npy(header(shape="('1',)"), EIGHT),
    npy(header(shape="(2,)"), EIGHT),
    npy(header(shape=f"({2**40},)"), EIGHT),
    npy(header(shape=f"({10**30},)"), EIGHT),
    npy(header(shape=f"({2**62}, {2**62}, 0)"), EIGHT),
    npy(header(shape=f"({10**30}, 0)"), EIGHT),
    npy(header(shape="(" + "1, " * 80 + ")"), EIGHT),
    npy(header(shape="(True,)"), EIGHT),
    npy(header(shape="(1,)"), EIGHT + b"more than one number"),
    npy(header(shape="(1,)"), EIGHT * 10_000),
    npy(header(shape="(0,)"), EIGHT),
]


@pytest.mark.parametrize("member", CRAFTED, ids=map(str, range(len(CRAFTED))))
def test_crafted_members_are_refused(tmp_path, member):
    """Each in an archive that is itself in order, so that no checksum helps."""
    path = zipped(tmp_path / "a.npz", y=member)
    with pytest.raises(InputError, match=r"y in .*a\.npz "):
        read_arrays(path, ("y",))


def test_a_claim_larger_than_the_file_costs_no_memory(tmp_path):
    path = zipped(tmp_path / "a.npz", y=npy(header(shape=f"({2**30},)"), EIGHT))
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"y in .* claims shape \({2**30},\) \({2**33} bytes\)"):
        read_arrays(path, ("y",))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_lying_directory_costs_no_memory(tmp_path):
    """The archive's own size field claims 2 GiB as well; the bytes end after eight."""
    content = bytearray(
        zipped(tmp_path / "a.npz", y=npy(header(shape=f"({2**28},)"), EIGHT)).read_bytes()
    )
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 2**31 + 128)
    (tmp_path / "a.npz").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.npz"):
        read_arrays(tmp_path / "a.npz", ("y",))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_arrays_above_the_limit_are_refused(tmp_path, monkeypatch):
    """A well-packed gigabyte of zeros is a small file; the limit looks at what it unpacks to."""
    (tmp_path / "a.npz").write_bytes(archive(True, Z=np.zeros((2, 5000)), y=y))
    monkeypatch.setattr(untrusted, "MAX_BYTES", 79_999)
    with pytest.raises(InputError, match=r"Z in .*\(2, 5000\) \(80000 bytes\), more than .* 79999"):
        load(tmp_path / "a.npz")


def test_a_member_name_that_is_no_text(tmp_path):
    """Marked as UTF-8, but not UTF-8."""
    content = zipped(tmp_path / "a.npz", ü=npy(header(), EIGHT)).read_bytes()
    (tmp_path / "a.npz").write_bytes(content.replace("ü".encode(), b"\xff\xfe"))
    with pytest.raises(InputError, match=r"a\.npz is not a readable NPZ file"):
        read_arrays(tmp_path / "a.npz", ("y",))


def test_encrypted_or_unknown_compression(tmp_path):
    content = bytearray(archive(Z=Z, y=y))
    first, entry = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    for offset, value in ((6, 1), (8, 99), (8, 12), (8, 14)):
        bad = bytearray(content)
        bad[first + offset] = bad[entry + offset + 2] = value
        (tmp_path / "a.npz").write_bytes(bad)
        with pytest.raises(InputError, match=r"a\.npz is not a readable NPZ file"):
            load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_files_that_are_none(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match=rf"{name} does not exist"):
        load(path)
    path.mkdir()
    with pytest.raises(InputError, match=rf"{name} is not a readable (NPZ|CSV) file"):
        load(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"inside-{name} is not a readable"):
        load(tmp_path / "file" / f"inside-{name}")


def test_other_contents_under_the_name_npz(tmp_path):
    for content in (b"", b"PK", b"Z,y\n1,2\n", npy(header(), EIGHT), bytes(1000)):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npz is not a readable NPZ file"):
            load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["data", "data.txt", "data.npy", "data.npz.gz", ""])
def test_other_suffixes_are_refused(name):
    with pytest.raises(InputError, match=rf"must end in \.npz or \.csv, but it is '{name or '.'}"):
        load(Path(name))


# ---- NPZ: damage


@pytest.mark.parametrize("compressed", [False, True])
def test_no_truncation_loads(tmp_path, compressed):
    content = archive(compressed, Z=Z, y=y)
    for end in range(len(content)):
        assert not refused_or_right(tmp_path / "a.npz", content[:end], Z, y)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_single_byte_damaged(tmp_path, compressed):
    """Most places matter; those that don't (times, attributes) change nothing."""
    content, path = archive(compressed, Z=Z, y=y), tmp_path / "a.npz"
    refused = 0
    for at, flip in itertools.product(range(len(content)), (0x01, 0x80, 0xFF)):
        damaged = bytearray(content)
        damaged[at] ^= flip
        refused += not refused_or_right(path, bytes(damaged), Z, y)
    assert refused > len(content)


def test_damage_to_the_header_of_a_large_array(tmp_path):
    """zipfile compares the checksum at a member's end: an array that stops short never gets there.

    One flipped bit turns (2, 600) into (2, 200), another little-endian into big-endian.
    """
    content, path = archive(Z=LARGE, y=y), tmp_path / "a.npz"
    start = content.index(b"\x93NUMPY")
    end = content.index(b"\n", start)
    for at, bit in itertools.product(range(start, min(end, start + 80)), range(8)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << bit
        assert not refused_or_right(path, bytes(damaged), LARGE, y)


@pytest.mark.parametrize("compressed", [False, True])
@fuzz
@given(data=st.data())
def test_several_bytes_damaged(tmp_path_factory, compressed, data):
    content = bytearray(archive(compressed, Z=LARGE if compressed else Z, y=y))
    near_end = st.integers(max(0, len(content) - 300), len(content) - 1)
    places = st.one_of(st.integers(0, min(300, len(content)) - 1), near_end)
    for at in data.draw(st.lists(places, min_size=1, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"fuzz-{compressed}.npz"
    refused_or_right(path, bytes(content), LARGE if compressed else Z, y)


@fuzz
@given(content=st.binary(max_size=400))
def test_random_bytes_are_no_archive(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.npz"
    assert not refused_or_right(path, b"PK\x03\x04" + content, Z, y)


# ---- CSV


def table(path: Path, text: str | bytes) -> Path:
    path = path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a,y,b,c\n1,4,-2.5,0\n0.5,-1,3,1e-300\n",
        "a,y,b,c\r\n1,4,-2.5,0\r\n0.5,-1,3,1e-300",
        "\ufeffa,y,b,c\n1,4,-2.5,0\n0.5,-1,3,1e-300\n",
        "\ufeffy,a,b,c\n4,1,-2.5,0\n-1,0.5,3,1e-300\n",
        ' a , y ,b,c\n 1 , 4 ,-2.5,0\n\n"0.5","-1",3,1e-300\n\n',
        '"a","b, too","y","y2"\n1,-2.5,4,0\n.5,+3,-1.,1E-300\n',
    ],
)
def test_tables_load_with_features_in_order(tmp_path, text):
    problem = load(table(tmp_path, text))
    assert np.array_equal(problem.Z, Z)
    assert np.array_equal(problem.y, y)
    assert (problem.name, problem.x_true) == ("t", None)


def test_the_target_can_be_any_column(tmp_path):
    features, target, names = read_table(table(tmp_path, "a,b,c\n1,2,3\n4,5,6\n"), "b")
    assert names == ("a", "c")
    assert np.array_equal(features, [[1, 3], [4, 6]])
    assert np.array_equal(target, [2, 5])


def test_load_takes_another_target_and_keeps_names(tmp_path):
    path = table(tmp_path, "dose, age ,y\n1,2,3\n4,5,6\n7,8,9\n")
    with pytest.warns(UserWarning, match="n ≥ d"):
        problem = load(path, "age")
    assert np.array_equal(problem.Z, [[1, 3], [4, 6], [7, 9]])
    assert np.array_equal(problem.y, [2, 5, 8])
    assert problem.names == ("dose", "y")
    with pytest.raises(InputError, match=r"one column 'weight'"):
        load(path, "weight")
    (tmp_path / "a.npz").write_bytes(archive(Z=Z, y=y))
    with pytest.raises(InputError, match=r"target must name a column of a CSV file, but .*a\.npz"):
        load(tmp_path / "a.npz", "y")


HEADER = r"must start with a header that names one column 'y' and at least one feature"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", HEADER + r".*header is \[\]"),
        ("\n\n", HEADER),
        ("a,b,y\n", HEADER),
        ("y\n1\n", HEADER),
        ("a,b\n1,2\n", HEADER + r".*header is \['a', 'b'\]"),
        ("a,Y\n1,2\n", HEADER),
        (
            "a,y,y\n1,2,3\n",
            r"t\.csv: .*must name each column once, but columns 2 and 3 are both 'y'",
        ),
        ("1,2,3\n4,5,6\n", HEADER),
        ("a;b;y\n1;2;3\n", HEADER + r".*separate fields by commas instead of ';'"),
        ("a\tb\ty\n1\t2\t3\n", HEADER + r".*separate fields by commas instead of '(\\t| )'"),
        ("c1,c2,c3,c4,c5,c6,c7,c8,c9\n" + "1," * 8 + "2\n", HEADER + r".*'c8', …\]"),
        ('a,b,y\n1,"2,5",3\n', r"column 'b' must be a number, but it is '2,5' \(write a decimal"),
        (",a,y\n0,1,2\n", r"t\.csv: the header must have a name for each column, but column 1"),
        ("a,,y\n0,1,2\n", r"column 2 has none \(''\).*index=False.*row\.names = FALSE"),
        ("a,y,\n0,1,2\n", r"column 3 has none"),
        ('" ",a,y\n0,1,2\n', r"column 1 has none"),
        ("Unnamed: 0,a,y\n0,1,2\n", r"column 1 has none \('Unnamed: 0'\)"),
        ("a,a,y\n0,1,2\n", r"must name each column once, but columns 1 and 2 are both 'a'"),
        (
            'a,y\n"1",0,1\n',
            r"row 2 has 3 entries, but the header has 2; names of rows are left out",
        ),
        ("a,b,y\n1,NA,3\n", r"row 2, column 'b' must be a number, but it is 'NA'"),
        ("a,b,y\n1,2,1e200\n", r"t\.csv: y must be at most 1e\+150 in size"),
        ("a,b,y\n1,2,3\n1,2\n", r"row 3 has 2 entries, but the header has 3"),
        ("a,b,y\n1,2,3,4\n", r"row 2 has 4 entries, but the header has 3"),
        ("a,b,y\n1,,3\n", r"row 2, column 'b' must be a number, but it is ''"),
        ("a,b,y\n1,2,3\n1,two,3\n", r"row 3, column 'b' must be a number, but it is 'two'\.$"),
        ("a,b,y\n1,2,0x10\n", r"row 2, column 'y' must be a number, but it is '0x10'"),
        ("a,b,y\n1,2,1e\n", r"row 2, column 'y' must be a number"),
        ("a,b,y\n1,'2',3\n", r"row 2, column 'b' must be a number"),
        ("a,b,y\n1,2+1j,3\n", r"row 2, column 'b' must be a number"),
        ("a,b,y\n1,2,3 4\n", r"row 2, column 'y' must be a number"),
        ("a,b,y\n1,2,\x00\n", r"row 2, column 'y' must be a number|line contains NUL"),
        ("a,b,y\n1,2,nan\n", r"row 2, column 'y' must be a number, but it is 'nan'"),
        ("a,b,y\n1,-inf,3\n", r"row 2, column 'b' must be finite, but it is '-inf'"),
        ("a,b,y\n1,2,1e999\n", r"row 2, column 'y' must be finite, but it is '1e999'"),
        ("a,b,y\n1,2,1_000\n", r"row 2, column 'y' must be a number, but it is '1_000'"),
        ("a,b,y\n\n1,2,3\n\n\n1,two,3\n", r"row 6, column 'b' must be a number"),
        ('a,b,y\n1,"2,3\n', r"row 2 has 2 entries"),
        ("a,b,y\n1," + "2" * 200_000 + ",3\n", r"not a readable CSV file \(field larger"),
        (b"a,b,y\n1,2,\xff\n", r"not a readable CSV file \('utf-8'"),
        ("a,b,y\n1,2,3\n".encode("utf-16"), r"not a readable CSV file|must start with"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, rule):
    with pytest.raises(InputError, match=rule):
        load(table(tmp_path, text))


def test_tables_above_the_limit_are_refused(tmp_path, monkeypatch):
    path = table(tmp_path, "a,b,y\n" + "1,2,3\n" * 10)
    monkeypatch.setattr(untrusted, "MAX_BYTES", 65)
    with pytest.raises(InputError, match=r"t\.csv has 66 bytes, more than 65"):
        load(path)


def test_long_entries_are_quoted_in_part(tmp_path):
    with pytest.raises(InputError) as caught:
        load(table(tmp_path, "a,y\n1," + "x" * 5000 + "\n"))
    assert len(str(caught.value)) < 500


@fuzz
@given(data=st.data())
def test_damaged_tables_load_finite_or_are_refused(tmp_path_factory, data):
    content = bytearray(b"a,b,c,y\n1,-2.5,0,4\n0.5,3,1e-3,-1\n")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = table(tmp_path_factory.getbasetemp(), bytes(content))
    try:
        problem = load(path)
    except InputError:
        return
    assert np.isfinite(problem.Z).all()
    assert np.isfinite(problem.y).all()
    assert problem.y.size == problem.n
