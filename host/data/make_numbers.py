#!/usr/bin/env python3
"""Makes numbers.safetensors: the numbers 0..99 as handwritten digits and as spoken words.

Needs:  apt-get install espeak-ng
        pip install numpy scikit-learn
Use:    python3 make_numbers.py [OUT.safetensors]   write the file (default: beside this script)
        python3 make_numbers.py --check [FILE]      make it again, compare with the stored FILE

Digits. The 1797 images of `sklearn.datasets.load_digits`, 8x8 values 0..16, in their order;
the first 1200 are for training, the others for testing.

Audio. Each voice says each number once ("forty-two"), at a speed and a pitch drawn with a
fixed seed. The sound (22050 Hz, 16 bit) becomes a log-mel patch:
  1. Frames of 512 samples every 128, times a Hann window; power spectrum |FFT|^2.
  2. 20 triangular bands, centres evenly spaced on the mel scale m(f) = 2595 log10(1 + f/700)
     between 100 and 8000 Hz, each with unit peak: M[frame, band].
  3. Silence trimmed: only the frames from the first to the last whose sum over the bands
     exceeds 1e-4 of the largest such sum.
  4. L = log(M + 1e-6 max M).
  5. The time axis cut into 16 equal slices; each is the mean of L over the slice, a frame
     on a cut counting in proportion.
  6. The patch's mean subtracted, then divided by its standard deviation: z.
  7. Stored as the byte clip(round(32 z + 128), 0, 255), slice by slice (16 x 20).

espeak-ng replaces an unknown accent or variant by a default without a word, so the script
first compares the sounds of all the voices, and stops if two of them are the same or nearly so.
"""

import argparse
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
from multiprocessing import Pool
from pathlib import Path

try:
    import numpy as np
    import sklearn
    from sklearn.datasets import load_digits
except ImportError as missing:
    sys.exit(f"{missing}. Install with: pip install numpy scikit-learn")

STORED = Path(__file__).resolve().parent / "numbers.safetensors"
FORMAT = "rivergram-numbers 1"
LICENCE = (
    "digits, digit_labels: CC BY 4.0 (E. Alpaydin and C. Kaynak, Optical Recognition of "
    "Handwritten Digits, UCI Machine Learning Repository, 1998, doi 10.24432/C50P49); "
    "audio_train, audio_test: MIT OR Apache-2.0"
)

# The only metadata that may differ between machines.
VERSIONS = ("espeak_ng", "numpy", "scikit_learn")

DIGIT_TRAIN = 1200
# SHA-256 of the 1797 x 64 image bytes followed by the 1797 labels.
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

# A voice is an accent of espeak-ng and one of its variants. No variant serves twice.
# The accent must be the name of a language file: British English is "en" here, as "en-gb",
# an alias, drops the variant.
TRAIN_VOICES = [
    "en-us+m1", "en+m2", "en-gb-x-rp+m3", "en-gb-scotland+m5", "en-029+m8",
    "en-gb-x-gbclan+f1", "en-gb-x-gbcwmd+f3", "en-us-nyc+f4", "en-us+Alex", "en+Andy",
    "en-gb-x-rp+Annie", "en-gb-scotland+belinda", "en-029+linda", "en-gb-x-gbclan+steph",
    "en-gb-x-gbcwmd+shelby", "en-us-nyc+benjamin", "en-us+klatt4", "en+Denis",
    "en-gb-x-rp+Gene", "en-gb-scotland+Hugo", "en-029+Jacky", "en-gb-x-gbclan+john",
    "en-gb-x-gbcwmd+max", "en-us-nyc+Michael", "en-us+Marco", "en+croak",
    "en-gb-x-rp+paul", "en-gb-scotland+iven3", "en-029+Mr serious", "en-gb-x-gbclan+robosoft5",
]
TEST_VOICES = [
    "en-gb-scotland+m7", "en-029+f5", "en-gb-x-gbclan+rob", "en-gb-x-gbcwmd+Andrea",
    "en-us-nyc+anika", "en-us+grandma", "en+sandro", "en-gb-x-rp+norbert",
    "en-gb-scotland+david", "en-029+m4",
]
NUMBERS = 100
SEED = "rivergram numbers 1"
SPEEDS = (130, 220)  # words per minute, both ends included
PITCHES = (25, 75)  # on espeak-ng's scale 0..99, both ends included

RATE = 22050
FRAME = 512
HOP = 128
BANDS = 20
LOWEST, HIGHEST = 100.0, 8000.0
TRIM = 1e-4
FLOOR = 1e-6
SLICES = 16

# The voices are compared by what they say here, at one speed and one pitch.
PROBE_ACCENT = "en-us"
PROBE_NUMBERS = (3, 17, 42, 68, 95)
PROBE_SPEED, PROBE_PITCH = 170, 50
# Least root mean square difference of two voices' patches (a patch has deviation 1).
LEAST_DIFFERENCE = 0.1
LEAST_TRAIN_TEST_DIFFERENCE = 0.25

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


class Fault(Exception):
    """What stops the script, said to the user. (A pool hangs if a worker calls sys.exit.)"""


def spell(number):
    """The English name of a number below 100: 42 is "forty-two"."""
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


# Sound


def speak(voice, number, speed, pitch):
    """The samples, as 16-bit integers, of one voice saying one number."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout"]
    done = subprocess.run(command + [spell(number)], capture_output=True)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Fault(f"espeak-ng, voice {voice!r}, failed ({done.returncode}): {said}")
    wav = done.stdout
    # A 44-byte header; its two lengths are not filled in when writing to a pipe.
    form = (1, 1, RATE, RATE * 2, 2, 16)  # PCM, channels, rate, bytes/s, bytes/sample, bits
    found = tuple(
        int.from_bytes(wav[at : at + size], "little")
        for at, size in ((20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2))
    )
    if wav[:4] != b"RIFF" or wav[36:40] != b"data" or found != form:
        raise Fault(f"espeak-ng, voice {voice!r}: unexpected sound format {found}")
    samples = np.frombuffer(wav[44:], dtype="<i2")
    if len(samples) < FRAME or not samples.any():
        raise Fault(f"espeak-ng, voice {voice!r}, number {number}: no sound")
    return samples


def mel_filters():
    """The triangular mel bands as weights [band, frequency]."""
    mel_low, mel_high = 2595 * np.log10(1 + np.array([LOWEST, HIGHEST]) / 700)
    corners = 700 * (10 ** (np.linspace(mel_low, mel_high, BANDS + 2) / 2595) - 1)
    left, centre, right = (corners[i : i + BANDS, None] for i in range(3))
    frequency = np.arange(FRAME // 2 + 1) * RATE / FRAME
    rise = (frequency - left) / (centre - left)
    fall = (right - frequency) / (right - centre)
    return np.clip(np.minimum(rise, fall), 0, None)


MEL_FILTERS = mel_filters()
WINDOW = np.hanning(FRAME)


def log_mel(samples):
    """The trimmed log-mel spectrum [frame, band]."""
    signal = samples.astype(np.float64) / 32768
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP] * WINDOW
    mel = np.abs(np.fft.rfft(frames, axis=1)) ** 2 @ MEL_FILTERS.T
    energy = mel.sum(axis=1)
    loud = np.flatnonzero(energy > TRIM * energy.max())
    mel = mel[loud[0] : loud[-1] + 1]
    return np.log(mel + FLOOR * mel.max())


def patch(samples):
    """The normalised patch [SLICES, BANDS]: mean 0, deviation 1."""
    spectrum = log_mel(samples)
    count = len(spectrum)
    start = np.arange(count)
    cuts = np.linspace(0, count, SLICES + 1)[:, None]
    overlap = np.minimum(cuts[1:], start + 1) - np.maximum(cuts[:-1], start)
    slices = np.clip(overlap, 0, None) @ spectrum / (count / SLICES)
    slices -= slices.mean()
    return slices / slices.std()


def quantise(values):
    """Bytes of normalised values: 32 steps per deviation around 128."""
    return np.clip(np.round(values * 32 + 128), 0, 255).astype(np.uint8)


# Voices


def probe(voice):
    """A voice's hash and patches on the probe numbers."""
    sounds = [speak(voice, number, PROBE_SPEED, PROBE_PITCH) for number in PROBE_NUMBERS]
    digest = hashlib.sha256(b"".join(sound.tobytes() for sound in sounds)).hexdigest()
    return digest, np.stack([patch(sound) for sound in sounds])


def check_different(voices, probes, least):
    """Stops if two voices sound the same, or differ by less than `least(i, j)`."""
    faults = []
    for j in range(len(voices)):
        for i in range(j):
            difference = np.sqrt(((probes[i][1] - probes[j][1]) ** 2).mean())
            if probes[i][0] == probes[j][0]:
                faults.append(f"{voices[i]!r} and {voices[j]!r} give the same sound")
            elif difference < least(i, j):
                faults.append(f"{voices[i]!r} and {voices[j]!r} differ by {difference:.3f} only")
    if faults:
        rule = "Voices must differ (espeak-ng replaces an unknown name by a default):"
        raise Fault("\n  ".join([rule] + faults))


def check_voices(pool):
    """Stops unless every voice differs from every other, and from its accent without a variant."""
    voices = TRAIN_VOICES + TEST_VOICES
    accents = list(dict.fromkeys(voice.split("+")[0] for voice in voices))
    # As they are used: under an accent that takes no variants all its voices would be one.
    check_different(accents + voices, pool.map(probe, accents + voices), lambda i, j: 0)

    # With one accent for all, so that only the variants are compared.
    variants = [PROBE_ACCENT] + [PROBE_ACCENT + "+" + voice.split("+")[1] for voice in voices]
    first_test = 1 + len(TRAIN_VOICES)

    def least(i, j):
        both_sides = 0 < i < first_test <= j
        return LEAST_TRAIN_TEST_DIFFERENCE if both_sides else LEAST_DIFFERENCE

    check_different(variants, pool.map(probe, variants), least)
    print(f"{len(voices)} voices: all variants and all {len(accents)} accents sound different")


# Tensors


def draw_utterances(voices, rng):
    """One utterance (voice, number, speed, pitch) per voice and number, voice by voice."""

    def between(low, high):
        return low + int(rng.random() * (high - low + 1))

    return [
        [(voice, number, between(*SPEEDS), between(*PITCHES)) for number in range(NUMBERS)]
        for voice in voices
    ]


def voice_rows(utterances):
    """The quantised patches of one voice and the hashes of its sounds."""
    sounds = [speak(*utterance) for utterance in utterances]
    rows = np.stack([quantise(patch(sound)).ravel() for sound in sounds])
    return rows, [hashlib.sha256(sound.tobytes()).digest() for sound in sounds]


def make_audio(pool):
    """The tensors audio_train and audio_test."""
    rng = random.Random(SEED)
    voices = TRAIN_VOICES + TEST_VOICES
    rows, hashes = [], []
    for voice, made in zip(voices, pool.imap(voice_rows, draw_utterances(voices, rng))):
        rows.append(made[0])
        hashes += made[1]
        print(f"voice {len(rows):2} of {len(voices)}: {voice}", flush=True)
    if len(set(hashes)) != len(hashes):
        raise Fault("Two utterances give the same sound")
    split = len(TRAIN_VOICES)
    return np.concatenate(rows[:split]), np.concatenate(rows[split:])


def make_digits():
    """The tensors digits and digit_labels."""
    data = load_digits()
    images, labels = data.data.astype(np.uint8), data.target.astype(np.uint8)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if digest != DIGITS_SHA256:
        raise Fault(f"scikit-learn's digits have changed: SHA-256 {digest}")
    if len(np.unique(images, axis=0)) != len(images):
        raise Fault("Two digit images are the same")
    return images, labels


def espeak_version():
    """The version espeak-ng reports, and its Debian package version where there is one."""
    try:
        said = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise Fault("espeak-ng is missing. Install with: apt-get install espeak-ng") from None
    version = re.search(r"\d+(\.\d+)+\S*", said).group()
    try:
        query = ["dpkg-query", "-W", "-f", "${Version}", "espeak-ng"]
        package = subprocess.run(query, capture_output=True, text=True).stdout
    except FileNotFoundError:
        package = ""
    return f"{version} (Debian package {package})" if package else version


def versions():
    """What the file is made with, by the names in VERSIONS."""
    return dict(zip(VERSIONS, (espeak_version(), np.__version__, sklearn.__version__)))


def make_file(out):
    """Makes everything and writes it to the path `out`."""
    made_with = versions()
    print(", ".join(f"{name} {version}" for name, version in made_with.items()))
    digits, labels = make_digits()
    with Pool(2) as pool:
        check_voices(pool)
        audio_train, audio_test = make_audio(pool)
    tensors = {
        "digits": digits,
        "digit_labels": labels,
        "audio_train": audio_train,
        "audio_test": audio_test,
    }
    metadata = {
        "format": FORMAT,
        "licence": LICENCE,
        "digit_train": str(DIGIT_TRAIN),
        "voices_train": ",".join(TRAIN_VOICES),
        "voices_test": ",".join(TEST_VOICES),
        **made_with,
    }
    write_safetensors(out, tensors, metadata)
    size, digest = out.stat().st_size, hashlib.sha256(out.read_bytes()).hexdigest()
    print(f"{out}: {size} bytes, SHA-256 {digest}")


# The file


def write_safetensors(path, tensors, metadata):
    """Writes byte tensors, in the order given, in the safetensors format."""
    header, end = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.size
        header[name] = {"dtype": "U8", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def read_safetensors(path):
    """The byte tensors and the metadata of a file that write_safetensors wrote."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    try:
        header = json.loads(raw[8:start])
        metadata = header.pop("__metadata__")
        for name, entry in header.items():
            first, end = (start + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(raw[first:end], np.uint8).reshape(entry["shape"])
    except (ValueError, KeyError) as error:
        raise Fault(f"{path} is damaged: {error}") from None
    return tensors, metadata


def differences(stored, made):
    """What differs between two files, a line each: (differences, notes on versions)."""
    stored_tensors, stored_metadata = read_safetensors(stored)
    made_tensors, made_metadata = read_safetensors(made)
    lines, notes = [], []
    for key in sorted(stored_metadata.keys() | made_metadata.keys()):
        old, new = stored_metadata.get(key), made_metadata.get(key)
        if old != new:
            kind = notes if key in VERSIONS else lines
            kind.append(f"metadata {key}: stored {old!r}, made {new!r}")
    for name in sorted(stored_tensors.keys() | made_tensors.keys()):
        old, new = stored_tensors.get(name), made_tensors.get(name)
        if old is None or new is None or old.shape != new.shape:
            shapes = [None if tensor is None else tensor.shape for tensor in (old, new)]
            lines.append(f"tensor {name}: stored shape {shapes[0]}, made {shapes[1]}")
        elif not np.array_equal(old, new):
            gap = np.abs(old.astype(int) - new)
            rows = (gap.reshape(len(gap), -1) > 0).any(axis=1).sum()
            lines.append(
                f"tensor {name}: {(gap > 0).sum()} of {gap.size} values in {rows} rows differ, "
                f"by {gap.max()} at most"
            )
    return lines, notes


def check(stored):
    """Makes the file again and stops with a fault if the stored one holds anything else."""
    if not stored.is_file():
        raise Fault(f"{stored}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "numbers.safetensors"
        make_file(made)
        lines, notes = differences(stored, made)
        same_bytes = stored.read_bytes() == made.read_bytes()
    for line in notes:
        print(f"note: {line}")
    for line in lines:
        print(f"DIFFERS: {line}")
    if lines:
        raise Fault(f"{stored} differs")
    if same_bytes:
        print(f"{stored} is the same, byte for byte")
    elif notes:
        print(f"{stored} holds the same data; the versions it was made with differ")
    else:
        raise Fault(f"{stored} differs in its layout; all tensors and metadata are the same")


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=STORED, help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    options = parser.parse_args()
    try:
        (check if options.check else make_file)(options.file)
    except Fault as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
