//! Public sets: who publishes them, on which terms, and where the files are.
//!
//! Sizes and hashes are those that the publisher or a public catalogue states (TensorFlow Datasets for MovieLens, Zenodo and
//! the authors' pages for KuaiRand and KuaiRec); a file without them has none that is known here.

/// A public set.
#[derive(Clone, Copy, Debug)]
pub struct PublicSet {
    /// Its name.
    pub name: &'static str,
    /// The source that reads it.
    pub source: &'static str,
    /// The publisher's page.
    pub page: &'static str,
    /// The terms, in a few words; those on the page count.
    pub licence: &'static str,
    /// How it is had.
    pub access: Access,
}

/// How a set is had.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Files that anyone may download.
    Files {
        /// The files.
        files: &'static [PublicFile],
        /// What is left to do with them, if anything.
        then: Option<&'static str>,
    },
    /// What to do by hand.
    ByHand(&'static str),
}

/// A file of a set.
#[derive(Clone, Copy, Debug)]
pub struct PublicFile {
    /// The address.
    pub url: &'static str,
    /// Number of bytes, where it is known.
    pub size: Option<u64>,
    /// Hash, where it is known.
    pub digest: Option<Digest>,
    /// Whether the publisher keeps the MD5 in a file beside it, `URL.md5`.
    pub md5_beside: bool,
}

/// A hash in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256(&'static str),
    /// MD5.
    Md5(&'static str),
}

impl PublicFile {
    /// The last part of its address.
    pub fn name(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }

    const fn at(url: &'static str) -> Self {
        Self { url, size: None, digest: None, md5_beside: false }
    }

    const fn sha256(self, size: u64, digest: &'static str) -> Self {
        Self { size: Some(size), digest: Some(Digest::Sha256(digest)), ..self }
    }

    const fn md5(self, digest: &'static str) -> Self {
        Self { digest: Some(Digest::Md5(digest)), ..self }
    }

    const fn size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// GroupLens keeps hashes beside the files.
    const fn grouplens(url: &'static str) -> Self {
        Self { md5_beside: true, ..Self::at(url) }
    }
}

const fn files(files: &'static [PublicFile]) -> Access {
    Access::Files { files, then: None }
}

const UNTAR: Option<&str> = Some("unpack it (tar xzf), and name the folder that comes of it as the path");

const MOVIELENS: &str =
    "research use with citation, not to be passed on, no commercial use without permission";
const AMAZON: &str = "no licence is stated; research use with citation";
const RECZOO: &str = "as the publisher's page says; made from the set named there";
const KUAI: &str = "CC BY-SA 4.0";

const fn movielens(name: &'static str, page: &'static str, all: &'static [PublicFile]) -> PublicSet {
    PublicSet { name, source: "movielens", page, licence: MOVIELENS, access: files(all) }
}

const fn kuairand(name: &'static str, all: &'static [PublicFile]) -> PublicSet {
    let access = Access::Files { files: all, then: UNTAR };
    PublicSet { name, source: "kuairand", page: "https://kuairand.com", licence: KUAI, access }
}

const fn by_hand(
    name: &'static str,
    source: &'static str,
    page: &'static str,
    licence: &'static str,
    what: &'static str,
) -> PublicSet {
    PublicSet { name, source, page, licence, access: Access::ByHand(what) }
}

/// Every set that is known, in the order of the sources.
pub const SETS: &[PublicSet] = &[
    by_hand(
        "taobao",
        "taobao",
        "https://tianchi.aliyun.com/dataset/649",
        "non-commercial, as its page says",
        "sign in to Tianchi, accept the terms of data set 649 and download UserBehavior.csv.zip",
    ),
    by_hand(
        "taobao-ad",
        "taobao-ad",
        "https://tianchi.aliyun.com/dataset/56",
        "non-commercial, as its page says",
        "sign in to Tianchi, accept the terms of data set 56 and download raw_sample, ad_feature, user_profile and behavior_log \
         into one folder",
    ),
    movielens(
        "ml-100k",
        "https://grouplens.org/datasets/movielens/100k/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-100k.zip")
            .sha256(4_924_029, "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229")],
    ),
    movielens(
        "ml-1m",
        "https://grouplens.org/datasets/movielens/1m/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-1m.zip")
            .sha256(5_917_549, "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20")],
    ),
    movielens(
        "ml-10m",
        "https://grouplens.org/datasets/movielens/10m/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-10m.zip")],
    ),
    movielens(
        "ml-20m",
        "https://grouplens.org/datasets/movielens/20m/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-20m.zip")
            .sha256(198_702_078, "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3")],
    ),
    movielens(
        "ml-25m",
        "https://grouplens.org/datasets/movielens/25m/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-25m.zip")
            .sha256(261_978_986, "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa")],
    ),
    movielens(
        "ml-32m",
        "https://grouplens.org/datasets/movielens/32m/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-32m.zip")],
    ),
    // Those two change from time to time.
    movielens(
        "ml-latest-small",
        "https://grouplens.org/datasets/movielens/latest/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-latest-small.zip")],
    ),
    movielens(
        "ml-latest",
        "https://grouplens.org/datasets/movielens/latest/",
        &[PublicFile::grouplens("https://files.grouplens.org/datasets/movielens/ml-latest.zip")],
    ),
    PublicSet {
        name: "movietweetings",
        source: "movielens",
        page: "https://github.com/sidooms/MovieTweetings",
        licence: "MIT",
        access: files(&[
            PublicFile::at(
                "https://raw.githubusercontent.com/sidooms/MovieTweetings/master/latest/ratings.dat",
            ),
            PublicFile::at(
                "https://raw.githubusercontent.com/sidooms/MovieTweetings/master/latest/movies.dat",
            ),
        ]),
    },
    PublicSet {
        name: "amazon-2014-electronics",
        source: "amazon",
        page: "https://jmcauley.ucsd.edu/data/amazon/",
        licence: AMAZON,
        access: files(&[
            PublicFile::at(
                "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_Electronics_5.json.gz",
            ),
            PublicFile::at(
                "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_Electronics.json.gz",
            ),
        ]),
    },
    PublicSet {
        name: "amazon-2023-all-beauty",
        source: "amazon",
        page: "https://amazon-reviews-2023.github.io/",
        licence: AMAZON,
        access: files(&[
            PublicFile::at(
                "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/All_Beauty.jsonl.gz",
            ),
            PublicFile::at(
                "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_All_Beauty.jsonl.gz",
            ),
        ]),
    },
    PublicSet {
        name: "steam",
        source: "steam",
        page: "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        licence: AMAZON,
        access: files(&[
            PublicFile::at("https://mcauleylab.ucsd.edu/public_datasets/data/steam/steam_reviews.json.gz"),
            PublicFile::at("https://mcauleylab.ucsd.edu/public_datasets/data/steam/steam_games.json.gz"),
        ]),
    },
    by_hand(
        "retailrocket",
        "retailrocket",
        "https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
        "CC BY-NC-SA 4.0",
        "sign in to Kaggle and download the archive",
    ),
    by_hand(
        "yoochoose",
        "yoochoose",
        "https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015",
        "as its page says",
        "sign in to Kaggle and download yoochoose-clicks.dat and yoochoose-buys.dat into one folder",
    ),
    by_hand(
        "diginetica",
        "diginetica",
        "https://competitions.codalab.org/competitions/11161",
        "as its page says",
        "sign in to CodaLab, join the competition, and download dataset-train-diginetica.zip",
    ),
    by_hand(
        "mind",
        "mind",
        "https://msnews.github.io/",
        "Microsoft Research Licence: research use only",
        "accept the licence on the page, and unpack train and dev beside each other into one folder",
    ),
    PublicSet {
        name: "gowalla",
        source: "gowalla",
        page: "https://snap.stanford.edu/data/loc-gowalla.html",
        licence: "no licence is stated; research use with citation",
        access: files(&[PublicFile::at("https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz")]),
    },
    PublicSet {
        name: "brightkite",
        source: "gowalla",
        page: "https://snap.stanford.edu/data/loc-brightkite.html",
        licence: "no licence is stated; research use with citation",
        access: files(&[PublicFile::at(
            "https://snap.stanford.edu/data/loc-brightkite_totalCheckins.txt.gz",
        )]),
    },
    by_hand(
        "foursquare",
        "foursquare",
        "https://sites.google.com/site/yangdingqi/home/foursquare-dataset",
        "research use with citation",
        "follow the link \"NYC and Tokyo Check-in Dataset\" and download dataset_tsmc2014.zip",
    ),
    PublicSet {
        name: "lastfm-1k",
        source: "lastfm",
        page: "http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html",
        licence: "non-commercial use",
        access: Access::Files {
            files: &[PublicFile::at("http://mtg.upf.edu/static/datasets/last.fm/lastfm-dataset-1K.tar.gz")],
            then: UNTAR,
        },
    },
    by_hand(
        "recbole",
        "recbole",
        "https://recbole.io/dataset_list.html",
        "that of each set",
        "choose a set from the list and download its atomic files",
    ),
    by_hand(
        "rechorus",
        "rechorus",
        "https://github.com/THUwangcy/ReChorus",
        "that of each set",
        "clone the repository; its folder data holds sets, and notebooks that make more",
    ),
    PublicSet {
        name: "kuaivideo-x1",
        source: "kuaivideo",
        page: "https://huggingface.co/datasets/reczoo/KuaiVideo_x1",
        licence: RECZOO,
        access: files(&[PublicFile::at(
            "https://huggingface.co/datasets/reczoo/KuaiVideo_x1/resolve/main/KuaiVideo_x1.zip",
        )]),
    },
    by_hand(
        "kuaivideo-x2",
        "kuaivideo",
        "https://huggingface.co/datasets/reczoo/KuaiVideo_x2",
        RECZOO,
        "download every file under \"Files\" into one folder",
    ),
    PublicSet {
        name: "microvideo-x1",
        source: "microvideo",
        page: "https://huggingface.co/datasets/reczoo/MicroVideo1.7M_x1",
        licence: RECZOO,
        access: files(&[PublicFile::at(
            "https://huggingface.co/datasets/reczoo/MicroVideo1.7M_x1/resolve/main/MicroVideo1.7M_x1.zip",
        )]),
    },
    by_hand(
        "microvideo-x2",
        "microvideo",
        "https://huggingface.co/datasets/reczoo/MicroVideo1.7M_x2",
        RECZOO,
        "download every file under \"Files\" into one folder",
    ),
    by_hand(
        "ebnerd-small-x1",
        "ebnerd-small",
        "https://huggingface.co/datasets/reczoo/Ebnerd_small_x1",
        RECZOO,
        "download every file under \"Files\" into one folder",
    ),
    by_hand(
        "ebnerd",
        "ebnerd",
        "https://recsys.eb.dk/dataset/",
        "research use only",
        "accept the terms on the page, and download a bundle and articles.parquet into one folder",
    ),
    kuairand(
        "kuairand-pure",
        &[PublicFile::at("https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz")
            .md5("0820331067a3784d9691136f772b35a7")],
    ),
    kuairand(
        "kuairand-1k",
        &[PublicFile::at("https://zenodo.org/records/10439422/files/KuaiRand-1K.tar.gz")
            .md5("6b0b9c8222d67fcd4c676218edca3f1f")],
    ),
    kuairand(
        "kuairand-27k",
        &[PublicFile::at("https://zenodo.org/records/10439422/files/KuaiRand-27K.tar.gz")
            .md5("3e3c799a24e2d23a4d2c757fbf9adf59")
            .size(9_892_191_178)],
    ),
    PublicSet {
        name: "kuairec",
        source: "kuairec",
        page: "https://kuairec.com",
        licence: KUAI,
        access: files(&[PublicFile::at("https://zenodo.org/records/18164998/files/KuaiRec.zip")
            .md5("261550d472c48eff4990fb13c0e5bcf7")
            .size(431_964_858)]),
    },
    by_hand(
        "fuxictr",
        "fuxictr",
        "https://github.com/reczoo/Datasets",
        "that of each set",
        "choose a set from the list and download its archive",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::FORMATS;

    #[test]
    fn sets_have_sources_and_sources_have_sets() {
        let general = ["synthetic", "csv", "jsonl", "parquet", "store"];
        for format in FORMATS.iter().filter(|f| !general.contains(&f.name)) {
            assert!(SETS.iter().any(|set| set.source == format.name), "no set for {}", format.name);
        }
        for (i, set) in SETS.iter().enumerate() {
            assert!(FORMATS.iter().any(|f| f.name == set.source), "{}", set.name);
            assert!(SETS[..i].iter().all(|other| other.name != set.name), "{} twice", set.name);
            assert!(set.page.starts_with("http"));
            let Access::Files { files, .. } = set.access else { continue };
            for file in files {
                assert!(file.url.starts_with("http") && file.name().contains('.'), "{}", file.url);
                let (digits, length) = match file.digest {
                    Some(Digest::Sha256(digits)) => (digits, 64),
                    Some(Digest::Md5(digits)) => (digits, 32),
                    None => continue,
                };
                let hexadecimal = digits.bytes().all(|b| b"0123456789abcdef".contains(&b));
                assert!(hexadecimal && digits.len() == length, "{}", file.url);
            }
        }
    }
}
