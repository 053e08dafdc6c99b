"""What a page says of itself to programs: meta tags of a government site, canonical address, JSON-LD."""

from dataclasses import dataclass
from typing import Any

from web.portal.content import Item
from web.portal.settings import Settings
from web.portal.storage import Slot
from web.portal.words import file_path

Links = tuple[tuple[str, str], ...]  # names and paths below the base address


@dataclass(frozen=True)
class Column:
    """What the inspection asks of a list page: ColumnName and so on."""

    name: str
    description: str
    keywords: tuple[str, ...]
    type: str


@dataclass(frozen=True)
class Head:
    """`title`: empty on the home page. `path`: the one address of this content; empty where there is none to be found
    by. `here`: where the visitor is, with the query. `trail`: the way to here, this page left out."""

    title: str = ""
    here: str = "/"
    path: str = ""
    name: str = ""  # in the trail, where the title is longer
    description: str = ""
    trail: Links = ()
    column: Column | None = None
    current: str = ""
    previous: str = ""
    following: str = ""
    asked: str = ""
    kept: Links = ()
    data: tuple[dict[str, Any], ...] = ()


def organisation(settings: Settings) -> dict[str, Any]:
    return {
        "@type": "GovernmentOrganization",
        "name": settings.organiser or settings.site_name,
        "url": f"{settings.public_url}/",
    }


def website(settings: Settings) -> dict[str, Any]:
    return {
        "@context": "https://schema.org",
        "@type": "WebSite",
        "name": settings.site_name,
        "url": f"{settings.public_url}/",
        "inLanguage": "zh-CN",
        "publisher": organisation(settings),
        "potentialAction": {
            "@type": "SearchAction",
            "target": {"@type": "EntryPoint", "urlTemplate": f"{settings.public_url}/search?q={{search_term_string}}"},
            "query-input": "required name=search_term_string",
        },
    }


def crumbs(settings: Settings, trail: Links, name: str, path: str) -> dict[str, Any]:
    steps = (*trail, (name, path))
    return {
        "@context": "https://schema.org",
        "@type": "BreadcrumbList",
        "itemListElement": [
            {"@type": "ListItem", "position": place, "name": step, "item": settings.public_url + where}
            for place, (step, where) in enumerate(steps, 1)
        ],
    }


def collection(settings: Settings, column: Column, path: str) -> dict[str, Any]:
    return {
        "@context": "https://schema.org",
        "@type": "CollectionPage",
        "name": column.name,
        "description": column.description,
        "url": settings.public_url + path,
        "inLanguage": "zh-CN",
        "isPartOf": {"@type": "WebSite", "name": settings.site_name, "url": f"{settings.public_url}/"},
    }


def article(settings: Settings, slot: Slot, item: Item) -> dict[str, Any]:
    assert slot.first_published_at is not None
    address = f"{settings.public_url}/i/{item.number}"
    said: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Article",
        "headline": item.title,
        "identifier": item.index_number,
        "url": address,
        "mainEntityOfPage": address,
        "inLanguage": "zh-CN",
        "dateCreated": item.formed_on.isoformat(),
        "datePublished": slot.first_published_at.isoformat(timespec="seconds"),
        "dateModified": slot.changed_at.isoformat(timespec="seconds"),
        "publisher": organisation(settings),
        "author": {"@type": "GovernmentOrganization", "name": item.publisher},
    }
    optional = {"abstract": item.summary, "keywords": "，".join(item.keywords), "articleSection": item.item_type}
    said |= {name: value for name, value in optional.items() if value}
    if item.files:
        said["associatedMedia"] = [
            {
                "@type": "MediaObject",
                "name": file.name,
                "encodingFormat": file.media_type,
                "contentUrl": settings.public_url + file_path(file),
            }
            for file in item.files
        ]
    return said
