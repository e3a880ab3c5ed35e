//! Joins run folders that each hold a part of the trainings of one experiment.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::{
    config::Experiment,
    experiment::Grid,
    folder::{Finished, Folder},
    verify::{Difference, differences},
};

/// Run folders of one configuration.
#[derive(Debug)]
pub struct Parts {
    folders: Vec<Folder>,
}

impl Parts {
    /// Opens the folders.
    ///
    /// # Errors
    /// A folder that holds no run, or one of another configuration than the first.
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<(Experiment, Self)> {
        let opened = paths.iter().map(|path| Folder::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut all = opened.into_iter();
        let (experiment, first) = all.next().context("no run folders to merge")?;
        let mut folders = vec![first];
        for (other, folder) in all {
            let (ours, theirs) = (serde_json::to_value(&experiment)?, serde_json::to_value(&other)?);
            if let Some(Difference { field, stored, found, .. }) =
                differences("", &ours, &theirs).into_iter().next()
            {
                bail!(
                    "{} and {} hold different experiments: {field} is {stored} and {found}; only parts of one run can be \
                     merged",
                    folders[0].path().display(),
                    folder.path().display()
                );
            }
            folders.push(folder);
        }
        Ok((experiment, Self { folders }))
    }

    /// Copies every training of the grid to a new run folder.
    ///
    /// # Errors
    /// Trainings that no part has, that are damaged, or that two parts disagree about; nothing is written then.
    pub fn join(&self, grid: &Grid<'_>, experiment: &Experiment, out: &Path) -> anyhow::Result<Folder> {
        let mut found: Vec<&Folder> = Vec::new();
        let mut missing = Vec::new();
        for job in grid.jobs() {
            let mut of_job: Option<(&Folder, Finished)> = None;
            for folder in &self.folders {
                let Some(mut finished) = grid.finished_in(folder, job)? else { continue };
                (finished.record.seconds, finished.record.waited) = (0.0, 0.0);
                match &of_job {
                    Some((first, training))
                        if training.record != finished.record
                            || training.scores_sha256 != finished.scores_sha256 =>
                    {
                        let (a, b) = (first.path().display(), folder.path().display());
                        bail!("{job}: {a} and {b} hold different results of this training");
                    }
                    Some(_) => {}
                    None => of_job = Some((folder, finished)),
                }
            }
            match of_job {
                Some((folder, _)) => found.push(folder),
                None => missing.push(job.to_string()),
            }
        }
        if !missing.is_empty() {
            let (n, all) = (missing.len(), missing.len() + found.len());
            bail!("{n} of {all} trainings are in none of these folders: {}", missing.join(", "));
        }
        let folder = Folder::create(experiment, Some(out), None)?;
        for (job, from) in grid.jobs().zip(found) {
            folder.adopt(from, &job.name(), job.seed())?;
        }
        let parts: Vec<String> = self.folders.iter().map(|f| f.path().display().to_string()).collect();
        folder.log().note(&format!("merged from {}", parts.join(", ")));
        Ok(folder)
    }
}
