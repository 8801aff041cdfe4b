package android.content;

import android.content.res.AssetManager;

public abstract class Context {
    public AssetManager getAssets() {
        return null;
    }

    public ContentResolver getContentResolver() {
        return null;
    }

    public final String getString(int resId, Object... formatArgs) {
        return null;
    }
}
