"""Speech over bad paths between two network namespaces."""
