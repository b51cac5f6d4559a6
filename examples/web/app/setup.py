from setuptools import setup

setup(
    name="lunchbox",
    version="1.0",
    py_modules=["lunchbox"],
    entry_points={"console_scripts": ["lunchbox = lunchbox:main"]},
)
