"""From a folder of photographs to a deployed file.

You have photographs in one folder for each class and a limit on multiply-adds. `ddpnas fit` does
the whole job in one command. Here are its steps, with shared weights in place of a race: search,
choose a network within the limit, train it, export it to ONNX (float and 8-bit integers), classify
an image, and write a report. It takes a few minutes on a CPU.

Install ddpnas first (`docs/install.md`). `own_images.ipynb` is the same as a notebook.
"""

# %%
from pathlib import Path

from PIL import Image

import ddpnas
from ddpnas.export import (
    Deployable,
    OnnxFile,
    measure_files,
    quantize_onnx,
    raw_inputs,
    summarize_int8,
)

PHOTOS = Path("photos")  # your own folder: photos/cat/1.jpg, photos/dog/7.png, ...
RUN = Path("runs/photos")
LIMIT = {"macs": 4e6}  # multiply-adds of one image
EPOCHS = 40

# %% [markdown]
# ## A folder of images
#
# Without a folder of your own, the first cell writes one: 400 photographs of hands that show the
# digits 0 to 9, in `train/`, `valid/` and `test/` with one folder for each class.

# %%
if not PHOTOS.exists():
    hands = ddpnas.load_data("sign-digits-small")
    for split, part in hands.splits.items():
        for number, (image, label) in enumerate(zip(part.inputs, part.labels, strict=True)):
            file = PHOTOS / split / hands.classes[label] / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)

data = ddpnas.load_data(PHOTOS)
unseen = data.splits[data.held_out]
print(f"{len(data.classes)} classes, images of {data.input_shape}")
print(f"{len(data.train)} to train on, {len(data.valid)} to choose by, {len(unseen)} unseen")

# %% [markdown]
# ## Search
#
# A supernet contains every architecture of the space. While it trains, the search learns how
# likely each choice is to be a good one.

# %%
space = ddpnas.create_space(
    "nasbench201",
    channels=8,
    cells_per_stage=1,
    num_classes=len(data.classes),
    input_shape=data.input_shape,
)
found = ddpnas.search(space, data, out=RUN, overwrite=True)
print(f"{space.size:,} architectures; most likely: {space.format(found.architecture)}")

# %% [markdown]
# ## The best network within the limit
#
# `top_k` returns the fifty most likely architectures within the limit, provably. Each of them is
# scored once more with the weights of the search, and the best score wins.

# %%
costs = ddpnas.count_costs(space)
likely = ddpnas.top_k(found.distribution, space, 50, LIMIT, costs)
rescored = ddpnas.rescore(RUN, [one.architecture for one in likely], space=space, data=data)
best = max(range(len(likely)), key=lambda i: rescored[i].score)
chosen = likely[best]
print(f"number {best + 1} of {len(likely)}: {space.format(chosen.architecture)}")
print(f"{chosen.costs['macs']:,.0f} multiply-adds, {chosen.costs['params']:,.0f} parameters")

# %% [markdown]
# ## Train it, and a random network within the same limit for comparison
#
# The unseen images are used once, at the end.

# %%
trained = ddpnas.compare(space, chosen.architecture, data, limits=LIMIT, random=1, epochs=EPOCHS)
for one in trained:
    print(f"{one.name}: {100 * one.evaluation.accuracy:.1f} % of {len(unseen)} unseen images")
ddpnas.training.save_networks(RUN / "trained", space, trained, limits=LIMIT)

# %% [markdown]
# ## Export
#
# The file takes images as a camera stores them. It is written only if onnxruntime computes the
# same outputs as PyTorch on the unseen images.

# %%
model = ddpnas.load(RUN / "trained")
images = raw_inputs(data, unseen, 500)
deployed = Deployable.of(model, preprocessing=True)
exported = ddpnas.export_onnx(deployed, RUN / "net.onnx", images=images)
print(exported.takes.layout)
print(exported.agreement.explain())
print(exported.counts.explain())

# %% [markdown]
# ## 8-bit integers
#
# The int8 file is calibrated on training images. It is smaller for certain; the last lines measure
# whether it is as accurate and how fast it is.

# %%
int8 = quantize_onnx(exported.path, RUN / "net-int8.onnx", raw_inputs(data, data.train, 500))
files = [OnnxFile(exported.path), OnnxFile(int8.path)]
measured = measure_files(files, data, unseen)
for name, one in zip(("float", "int8"), measured, strict=True):
    print(f"{name}: {one.bytes:,} bytes, {100 * one.accuracy:.1f} %, {one.latency_ms:.2f} ms")
print(summarize_int8(*measured))

# %% [markdown]
# ## Predict

# %%
picture = min(PHOTOS.rglob("*.*"))
probabilities = model.predict([picture])[0]
best = int(probabilities.argmax())
print(f"{picture}: {model.classes[best]} ({100 * probabilities[best]:.0f} %)")

# %% [markdown]
# ## Report
#
# One HTML file: what was searched, how the distribution moved, what was found and how good it is.

# %%
print(ddpnas.write_report(RUN, RUN / "report.html"))
