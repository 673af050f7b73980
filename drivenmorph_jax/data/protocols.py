"""Label protocols of the published data sets, as label tables."""

from drivenmorph_jax.data.labels import LabelTable, make_label_table, read_label_table

_SIDED = (
    "Cerebral-White-Matter",
    "Cerebral-Cortex",
    "Lateral-Ventricle",
    "Inf-Lat-Vent",
    "Cerebellum-White-Matter",
    "Cerebellum-Cortex",
    "Thalamus",
    "Caudate",
    "Putamen",
    "Pallidum",
    "Hippocampus",
    "Amygdala",
    "Accumbens-area",
    "VentralDC",
)
_MIDLINE = ("3rd-Ventricle", "4th-Ventricle", "Brain-Stem")
_LEFT_VALUES = (2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 26, 28)
_RIGHT_VALUES = (41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60)

_DKT31 = {
    2: "caudalanteriorcingulate",
    3: "caudalmiddlefrontal",
    5: "cuneus",
    6: "entorhinal",
    7: "fusiform",
    8: "inferiorparietal",
    9: "inferiortemporal",
    10: "isthmuscingulate",
    11: "lateraloccipital",
    12: "lateralorbitofrontal",
    13: "lingual",
    14: "medialorbitofrontal",
    15: "middletemporal",
    16: "parahippocampal",
    17: "paracentral",
    18: "parsopercularis",
    19: "parsorbitalis",
    20: "parstriangularis",
    21: "pericalcarine",
    22: "postcentral",
    23: "posteriorcingulate",
    24: "precentral",
    25: "precuneus",
    26: "rostralanteriorcingulate",
    27: "rostralmiddlefrontal",
    28: "superiorfrontal",
    29: "superiorparietal",
    30: "superiortemporal",
    31: "supramarginal",
    34: "transversetemporal",
    35: "insula",
}

# Odd values are left, the even one after each is its right side.
_LPBA40 = {
    21: "superior-frontal-gyrus",
    23: "middle-frontal-gyrus",
    25: "inferior-frontal-gyrus",
    27: "precentral-gyrus",
    29: "middle-orbitofrontal-gyrus",
    31: "lateral-orbitofrontal-gyrus",
    33: "gyrus-rectus",
    41: "postcentral-gyrus",
    43: "superior-parietal-gyrus",
    45: "supramarginal-gyrus",
    47: "angular-gyrus",
    49: "precuneus",
    61: "superior-occipital-gyrus",
    63: "middle-occipital-gyrus",
    65: "inferior-occipital-gyrus",
    67: "cuneus",
    81: "superior-temporal-gyrus",
    83: "middle-temporal-gyrus",
    85: "inferior-temporal-gyrus",
    87: "parahippocampal-gyrus",
    89: "lingual-gyrus",
    91: "fusiform-gyrus",
    101: "insular-cortex",
    121: "cingulate-gyrus",
    161: "caudate",
    163: "putamen",
    165: "hippocampus",
}


def freesurfer() -> LabelTable:
    """The 31 whole-brain structures of FreeSurfer's `aseg` that all its users report."""
    entries = [
        *((v, f"Left-{n}") for v, n in zip(_LEFT_VALUES, _SIDED, strict=True)),
        *zip((14, 15, 16), _MIDLINE, strict=True),
        *((v, f"Right-{n}") for v, n in zip(_RIGHT_VALUES, _SIDED, strict=True)),
    ]
    return make_label_table(sorted(entries))


def learn2reg_oasis() -> LabelTable:
    """The 35 labels of OASIS in Learn2Reg: FreeSurfer's structures, numbered consecutively."""
    sided = (*_SIDED, "Vessel", "Choroid-Plexus")
    left = (*sided[:10], *_MIDLINE, *sided[10:])
    names = [n if n in _MIDLINE else f"Left-{n}" for n in left] + [f"Right-{n}" for n in sided]
    return make_label_table(enumerate(names, start=1))


def dkt31() -> LabelTable:
    """The Desikan-Killiany-Tourville cortical labels of Mindboggle-101, 31 a side."""
    return make_label_table(
        (first + value, f"{side}-{name}")
        for first, side in ((1000, "Left"), (2000, "Right"))
        for value, name in _DKT31.items()
    )


def lpba40() -> LabelTable:
    """The 56 labels of LPBA40."""
    sided = [
        (value + offset, f"{side}-{name}")
        for value, name in _LPBA40.items()
        for offset, side in enumerate(("Left", "Right"))
    ]
    return make_label_table([*sided, (181, "Cerebellum"), (182, "Brain-Stem")])


PROTOCOLS = {
    "freesurfer": freesurfer,
    "learn2reg_oasis": learn2reg_oasis,
    "dkt31": dkt31,
    "lpba40": lpba40,
}


def label_table(source: str) -> LabelTable:
    """The protocol of that name, else the table of that file.

    Raises:
      InputError: neither a protocol nor a readable table.
    """
    return PROTOCOLS[source]() if source in PROTOCOLS else read_label_table(source)
