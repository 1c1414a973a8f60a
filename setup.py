"""Install mxloss: ``pip install .``, or ``pip install -e .[examples,test,dev]`` for work on it."""
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "mxloss" / "__init__.py").read_text()).group(1)

setup(
    name="mxloss",
    version=VERSION,
    description="Custom losses, metrics and training parts for Apache MXNet 1.9",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["mxloss", "mxloss.*"]),
    python_requires=">=3.8,<3.12",
    install_requires=["mxnet>=1.9.1,<2", "numpy<1.24"],
    extras_require={
        "examples": ["matplotlib>=3.7", "tqdm", "tensorboardX", "scikit-learn"],
        "watch": ["tqdm", "tensorboardX"],
        "test": ["pytest", "hypothesis"],
        "dev": ["ruff"],
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
