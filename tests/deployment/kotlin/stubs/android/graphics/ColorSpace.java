package android.graphics;

public abstract class ColorSpace {
    public enum Named {
        SRGB
    }

    public static ColorSpace get(Named name) {
        return null;
    }
}
