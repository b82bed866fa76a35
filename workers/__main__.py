"""``python -m workers``: one worker process."""

from workers.app import main

if __name__ == "__main__":
    main()
