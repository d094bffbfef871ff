"""The numbers of a LoRA: what its tensors do to the weights that they change.

    tensors         one tensor of a file, as float64, a part at a time
    relative        kinds whose change depends on the weight that is changed
    kinds           how a change is stored: LoRA, LoKr, LoHa, OFT, …
    norms, deltas   size of a change, and the change itself
    null            random changes of the same size, as a control

A new kind is an entry in `kinds`, with its formula in `deltas` and `norms`.
"""
