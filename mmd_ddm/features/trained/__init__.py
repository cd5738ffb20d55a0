"""Small feature networks that `mmd-ddm pretrain` trains: a classifier and a contrastive network."""
