"""`python -m sf_assets` is `sf-assets`."""

from sf_assets.cli import main

if __name__ == "__main__":
    main(prog_name="sf-assets")
