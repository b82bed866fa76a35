"""All HTTP of `/scim/v2`: authenticates, limits, forwards to the control plane, renders. Holds no truth."""
