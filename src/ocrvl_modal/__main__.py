"""``python -m ocrvl_modal`` is ``ocrvl``."""

from ocrvl_modal.cli import main

if __name__ == "__main__":
    main()
