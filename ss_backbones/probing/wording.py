"""The fixed texts of a probe's report: what its numbers mean, and what they rest on."""

INTRODUCTION = (
    'In every block DFC stands in place of the activation and the second linear layer of the MLP. The first grouped '
    'linear layer, GL1, has one weight for each hidden channel: the weighted channels are summed in groups, and of '
    'these sums a linear layer makes a gate for each hidden channel. The second, GL2, has one weight for each gated '
    'channel, and its sums over groups are the output. Three things are worth a look: whether the weights gather on '
    'few channels or keep all of them (sparsity, effective share), whether they have an order along the channel index '
    '(slope), and how all that changes with the depth of the block.'
)
START = (
    'A grouped linear layer of this package starts with random weights, normal with a standard deviation of 0.01. Such '
    'weights have a sparsity of about 0.2, an effective share of about 0.33, no slope beyond its error, a balance of '
    'about 0 and a size of 0.01. Only what differs from these numbers was learnt; statistics that stay there tell of '
    'the start and not of the training. Earlier checkpoints show what moved.'
)

DEFINITIONS = (
    ('Sparsity (GL1 and GL2)', "Hoyer's measure: 0 where all weights have one size, 1 where a single one is not 0."),
    (
        'Effective share (GL1 and GL2)',
        'The share of the channels that matter: 1 where all weights have one size, 1 / H where a single one of the H '
        'is not 0.',
    ),
    (
        'Slope (GL1 and GL2)',
        'How much the weights rise from the first hidden channel to the last, by a straight line through them, in '
        'units of their mean size. A line that starts at 0 has a slope of 2. What follows the ± is its standard error.',
    ),
    (
        'Balance (GL1 and GL2)',
        'The sum of the weights over the sum of their sizes: 1 where all are positive, -1 where all are negative, 0 '
        'where both signs weigh the same.',
    ),
    ('Size (GL1 and GL2)', 'The root of the mean square of the weights.'),
    (
        'Gate swing',
        'The share of the mean square of a gate that varies from token to token, as a mean over the gates: 0 where '
        'every gate is a constant, 1 where all gates vary around 0.',
    ),
    (
        'Pass-through',
        'The share of the hidden channels whose gate is nearly a constant other than 0: less than 10% of its mean '
        'square varies. Such channels go through unchanged, as in the bypass of an MLP.',
    ),
    (
        'Correlation',
        "Pearson's correlation of the sizes of a channel's two weights, that in GL1 and that in GL2, over the hidden "
        'channels. It is 0 where all sizes are the same in one of them.',
    ),
    (
        'Distance',
        'The Kolmogorov-Smirnov distance between two sets of weights, each divided by its size: 0 where they are '
        'distributed alike, 1 where they do not overlap. It tells shapes apart and does not see sizes.',
    ),
)

GATES = (
    'Gate swing and pass-through come from the weights alone; no image is needed. The tokens that come out of the '
    "block's norm, before its scale and shift, are taken to have independent entries of mean 0 and variance 1. All "
    'from there to the gates is linear, which gives the mean and the standard deviation of each gate exactly. Real '
    'tokens have correlated entries, so take these two numbers as a guide.'
)
CONVOLUTIONS = (
    'Of each depthwise convolution the sum of its kernel is taken: what it does to a map that changes little from one '
    'place to the next. In the linear variant of PVTv2 (b2_li) there is a ReLU before it, which is not accounted for, '
    'so there the two numbers do not hold.'
)
SCALES = (
    'A weight counts together with the channel that it multiplies: the first linear layer may make up for a small '
    'weight by a large channel.'
)

CHANCE = (
    '"More than chance" means beyond the 1% level of the Kolmogorov-Smirnov test, at which 1 of 100 pairs would differ '
    'even if all weights were drawn alike. The channels of a network are not independent samples: they were trained '
    'together. So the test finds differences too easily, and the size of a distance says more than a count.'
)
ORDER = (
    'Hidden channels are interchangeable where the initialisation does not tell them apart: numbered in another order, '
    'the same training is as likely. So in expectation training gives no slope. Among as many lines as these, one may '
    'pass three standard errors by chance, more easily so as neighbouring channels share a sum and are not '
    'independent. A slope means something where most blocks have it, with the same sign, and another training too.'
)

CAPTIONS = {
    'gl1_weights.png': 'Weights of GL1, along the hidden channels of each block. The black line is the straight line '
    'through them.',
    'gl2_weights.png': 'Weights of GL2, along the hidden channels of each block. The black line is the straight line '
    'through them.',
    'statistics.png': 'The statistics by depth. The bars at the slopes are one standard error to each side. The dotted '
    'lines part the stages, if the network has some.',
    'gl1_gl2.png': 'The weight of each hidden channel in GL1 and in GL2. r is the correlation of their sizes.',
    'distances.png': 'Kolmogorov-Smirnov distances between the blocks. A bright row is a block whose weights are '
    'distributed unlike those of the others. Bold numbers are above chance.',
    'training.png': 'How the statistics of each block moved in training. The colour is the depth of the block.',
}
