"""``python -m scim_gateway``: one gateway process."""

from scim_gateway.app import main

if __name__ == "__main__":
    main()
