"""The network of Xu et al., Appl. Sci. 2023, 13, 4137, in torch."""
