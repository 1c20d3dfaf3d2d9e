"Packaging from settings.ini alone: configparser and shlex, no pkg_resources."
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]

statuses = {"1": "Planning", "2": "Pre-Alpha", "3": "Alpha", "4": "Beta", "5": "Production/Stable"}
pythons = ["3.10", "3.11", "3.12", "3.13"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    license="Apache-2.0",
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    classifiers=[
        f"Development Status :: {cfg['status']} - {statuses[cfg['status']]}",
        f"Intended Audience :: {cfg['audience']}",
        "Natural Language :: English",
    ] + [f"Programming Language :: Python :: {v}" for v in pythons],
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    include_package_data=True,
    python_requires=f">={cfg['min_python']}",
    install_requires=shlex.split(cfg["requirements"]),
    extras_require={
        "dev": shlex.split(cfg["dev_requirements"]),
        "gguf": shlex.split(cfg["gguf_requirements"]),
        "caption": shlex.split(cfg["caption_requirements"]),
        "geo": shlex.split(cfg["geo_requirements"]),
        "app": shlex.split(cfg["app_requirements"]),
    },
    entry_points={
        "console_scripts": shlex.split(cfg["console_scripts"]),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
