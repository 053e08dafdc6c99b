// Every page: on a phone the navigation is wider than the screen; it begins where the reader is.
const nav = document.querySelector(".top nav");
const here = nav && nav.querySelector("[aria-current]");
if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
